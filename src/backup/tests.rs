use super::read::{BackupError, Counts, Entry, Limits, Whole, read_again, read_within};
use super::{TokenLine, Writer};
use crate::time::Timestamp;
use crate::token::{SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};

const LIMITS: Limits = Limits { tokens: 7, part: 4 };

fn record(number: u8) -> TokenRecord {
    TokenRecord {
        id: TokenId::new(TokenId::MIN + u64::from(number)).unwrap(),
        digest: TokenDigest::from_bytes([number; 32]),
        kind: SecretKind::Generated,
        origin: TokenOrigin::Api,
        name: format!("token {number}"),
        description: None,
        roles: Vec::new(),
        dedicated_subject: None,
        created: Timestamp::EPOCH,
        updated: Timestamp::EPOCH,
        expires: None,
        disabled: None,
        former: None,
    }
}

/// A file of so many tokens and digests, written with no limit of these tests.
fn file(tokens: u8, spent: u8) -> String {
    let mut writer = Writer::start(Timestamp::EPOCH);
    (0..tokens).for_each(|number| writer.token(&TokenLine::from(&record(number))).unwrap());
    (0..spent).for_each(|number| writer.spent(&TokenDigest::from_bytes([number + 100; 32])));
    writer.finish();
    writer.take()
}

fn read(file: &str) -> Result<Whole, BackupError> {
    read_within(LIMITS, file.as_bytes(), |_, _| Ok(()))
}

/// The parts that are given away of a file, each by its lines, and how that ends.
fn again(file: &str, whole: &Whole) -> (Vec<Vec<u64>>, Result<(), String>) {
    let mut parts = Vec::new();
    let read = read_again(file.as_bytes(), whole, |part| {
        parts.push(part.iter().map(|(line, _)| *line).collect());
        Ok(())
    });
    (parts, read.map_err(|error| error.to_string()))
}

#[test]
fn as_many_tokens_are_written_and_read_as_allowed_and_not_one_more() {
    let mut writer = Writer::with_limit(LIMITS.tokens, Timestamp::EPOCH);
    let mut write = |number| writer.token(&TokenLine::from(&record(number)));
    assert!((0..7).all(|number| write(number).is_ok()));
    let error = write(7).unwrap_err().to_string();
    assert!(
        error.starts_with("there are more than 7 tokens") && error.contains("copy its data folder"),
        "{error}"
    );
    writer.finish();
    // What was refused is not there, and what was not is read.
    assert_eq!(read(&writer.take()).unwrap().counts(), Counts { tokens: 7, spent: 0 });
    assert_eq!(read(&file(8, 0)).unwrap_err().to_string(), "line 9: there are more than 7 tokens");
}

#[test]
fn spent_digests_are_read_however_many_there_are() {
    let mut writer = Writer::start(Timestamp::EPOCH);
    const MANY: u32 = 20_000;
    for number in 0..MANY {
        let mut digest = [1; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        writer.spent(&TokenDigest::from_bytes(digest));
    }
    writer.finish();
    let whole = read(&writer.take()).unwrap();
    assert_eq!(whole.counts(), Counts { tokens: 0, spent: u64::from(MANY) });
}

#[test]
fn file_that_is_the_same_is_read_again_in_parts() {
    for (tokens, spent, expected) in [
        (0, 0, vec![]),
        (1, 0, vec![vec![2]]),
        (4, 0, vec![vec![2, 3, 4, 5]]),
        (6, 3, vec![vec![2, 3, 4, 5], vec![6, 7, 8, 9], vec![10]]),
    ] {
        let file = file(tokens, spent);
        let whole = read(&file).unwrap();
        let mut entries = 0;
        read_again(file.as_bytes(), &whole, |part| {
            entries += part.iter().filter(|(_, entry)| matches!(entry, Entry::Token(_))).count();
            Ok(())
        })
        .unwrap();
        assert_eq!(entries, usize::from(tokens));
        assert_eq!(again(&file, &whole), (expected, Ok(())), "{tokens} {spent}");
    }
}

#[test]
fn nothing_is_given_away_of_a_part_that_changed_since_the_file_was_checked() {
    let file = file(6, 3);
    let whole = read(&file).unwrap();
    let end = |line: usize| file.match_indices('\n').nth(line - 1).unwrap().0 + 1;
    let head_of = |bytes: usize| file.get(..bytes).unwrap().to_owned();
    let other = self::file(7, 3);
    let (head, first, second, all) =
        (vec![], vec![vec![2, 3, 4, 5]], vec![vec![2, 3, 4, 5], vec![6, 7, 8, 9]], file.len());
    for (changed, parts, line) in [
        (String::new(), &head, 1),
        (file.replacen("version\":1", "version\":2", 1), &head, 1),
        (file.replacen("exported", "imported", 1), &head, 2),
        // Of the first part, the last line of it, and the second part.
        (file.replacen("token 0", "token 9", 1), &head, 2),
        (file.replacen("token 3", "token 9", 1), &head, 2),
        (file.replacen("token 4", "token 9", 1), &first, 6),
        (head_of(end(4)), &head, 2),
        (head_of(end(5)), &first, 6),
        (head_of(end(7) - 3), &first, 6),
        // Whole by itself, and another one; and what comes last.
        (other, &first, 6),
        (head_of(end(10)), &second, 10),
        (head_of(all - 2), &second, 10),
        (format!("{file}{{}}\n"), &second, 10),
    ] {
        let (given, told) = again(&changed, &whole);
        assert_eq!(&given, parts, "{changed}");
        let told = told.unwrap_err();
        assert!(
            told.starts_with(&format!("line {line}: from here on, the file is not what it was")),
            "{told}"
        );
    }
}

#[test]
fn version_that_never_was_is_not_called_newer() {
    for (version, told) in [
        (0, "line 1: the export has version 0, which no version of rolegate writes"),
        (2, "line 1: the export has version 2, and this version of rolegate reads versions up to 1"),
        (999, "line 1: the export has version 999, and this version of rolegate reads versions up to 1"),
    ] {
        let file = file(1, 0).replacen("version\":1", &format!("version\":{version}"), 1);
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
    assert!(read(&file(1, 0)).is_ok());
}
