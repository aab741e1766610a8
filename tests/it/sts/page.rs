//! The manual's page about service tokens, to the letter. `page.txt` holds its four blocks.

use super::world::{ONE_TOKEN, Reply, Server, Sts};

const PAGE: &str = include_str!("page.txt");

/// A command of the page and what the page says it prints.
fn block(command: &str) -> (String, String) {
    let blocks = PAGE.split("> ").filter_map(|block| block.split_once('\n'));
    let found = blocks.into_iter().find(|(line, _)| line.starts_with(command));
    found.map(|(line, printed)| (line.to_owned(), printed.trim_end().to_owned())).unwrap_or_default()
}

/// What our program prints for that command; the page's server has the page's token.
fn printed(line: &str) -> String {
    let server = Server::start()
        .with("GET /api/security/tokens", Reply::json(ONE_TOKEN))
        .with(
            "POST /api/security/tokens",
            Reply::json(r#"{"name":"my-service-token","token":"svctok-aaaaa-bbbb-ccccc-ddddd"}"#),
        )
        .with("DELETE /api/security/tokens/107484341630693", Reply::new("204 No Content", None, b""));
    let outcome = Sts::of(line.trim_start_matches("sts ")).server(&server).run();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    outcome.stdout
}

#[test]
fn help_is_that_of_the_page() {
    let (line, page) = block("sts service-token --help");
    assert_eq!(printed(&line), format!("{page}\n"));
}

#[test]
fn create_is_that_of_the_page() {
    let (line, page) = block("sts service-token create");
    // The message itself ends in a line end, which a page does not show.
    assert_eq!(printed(&line), format!("{page}\n\n"));
}

#[test]
fn list_is_that_of_the_page() {
    let (line, page) = block("sts service-token list");
    let printed = printed(&line);
    // A page loses the spaces at the ends of lines; the program pads every cell, the last one too.
    let trimmed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    assert_eq!(trimmed.join("\n"), page);
    assert_eq!(printed.lines().map(str::len).collect::<Vec<_>>(), [73, 73]);
    assert!(printed.ends_with("]\n"));
}

#[test]
fn delete_is_that_of_the_page() {
    let (line, page) = block("sts service-token delete");
    // The page has lost the symbol in front of the space.
    assert_eq!(printed(&line), format!("✅{page}\n"));
}
