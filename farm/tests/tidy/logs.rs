//! Logs say what happened in constant words, and which and how much in fields.

use super::lexer::{split, without_tests};
use super::{assert_none, files, read};

const MACROS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];

#[test]
fn what_varies_in_a_log_line_is_a_field() {
    let mut complaints = Vec::new();
    let ours = ["shared/src/", "coordinator/src/", "worker/src/", "worker/gpu-metrics/src/", "farm/src/"];
    for path in files(".rs").into_iter().filter(|path| ours.iter().any(|folder| path.starts_with(folder))) {
        let source = read(&path);
        // Character by character as long as the source; literals are blank.
        let code = without_tests(&split(&source).code);
        for (at, name) in MACROS.iter().flat_map(|name| code.match_indices(name)) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue; // such as `eprintln!(`, or a macro of our own
            }
            let start = at + name.len();
            let end = start + closing(&code[start..]);
            if message(&source, &code, start, end).contains(&'{') {
                let line = code[..at].lines().count();
                complaints.push(format!("{}:{line}", path.display()));
            }
        }
    }
    assert_none(complaints, "log lines that interpolate: make a field of what varies");
}

/// Where the bracket that is open at the start of `code` closes.
fn closing(code: &str) -> usize {
    let mut depth = 1;
    for (at, c) in code.char_indices() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// The last literal between two places of `code`, as it stands in the source.
fn message(source: &str, code: &str, start: usize, end: usize) -> Vec<char> {
    let quotes = code[start..end].match_indices('"').map(|(at, _)| code[..start + at].chars().count());
    match quotes.collect::<Vec<_>>()[..] {
        [.., open, close] => source.chars().skip(open + 1).take(close - open - 1).collect(),
        _ => Vec::new(),
    }
}
