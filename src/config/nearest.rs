//! Which known word a mistyped one resembles.

/// The word among `known` that differs least from `word`, if it differs little. Case, `-` and `_` do not count.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = normal(word);
    let allowed = (plain.len() / 3).max(1);
    known
        .map(|candidate| (distance(&plain, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normal(word: &str) -> Vec<char> {
    // Longer words than this resemble no key.
    word.chars().filter(|letter| !"-_".contains(*letter)).take(64).flat_map(char::to_lowercase).collect()
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, letter) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in right.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, j) + usize::from(letter != other);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(other) && right.get(j - 1) == Some(letter);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn mistyped_words_find_their_key_and_strange_ones_do_not() {
        let known = ["listen", "data_dir", "policies", "tokens", "limits"];
        let find = |word| nearest(word, known.into_iter());
        assert_eq!(find("polices"), Some("policies"));
        assert_eq!(find("dataDir"), Some("data_dir"));
        assert_eq!(find("lsiten"), Some("listen"));
        assert_eq!(find("Tokens"), Some("tokens"));
        assert_eq!(find("limit"), Some("limits"));
        assert_eq!(find("keycloak"), None);
        assert_eq!(find(""), None);
        assert_eq!(find(&"x".repeat(1_000_000)), None);
    }
}
