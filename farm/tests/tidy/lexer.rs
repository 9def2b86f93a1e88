//! Rust source split into code and comments, line by line: enough of a lexer to count and to search without being
//! fooled by a brace in a string or a word in a comment.

/// Both have the lines of the source; what belongs to the other, and what stands inside string and character literals,
/// is blank.
pub struct Split {
    /// Without comments and without the insides of literals.
    pub code: String,
    /// Comments alone.
    pub comments: String,
}

/// A function and the lines it takes.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub lines: usize,
}

/// Splits `source`.
pub fn split(source: &str) -> Split {
    let text: Vec<char> = source.chars().collect();
    let mut out = Split { code: String::new(), comments: String::new() };
    let mut at = 0;
    while at < text.len() {
        let (end, kind) = token(&text, at);
        for &c in &text[at..end] {
            let (mut code, mut comment) = (' ', ' ');
            match kind {
                Kind::Code => code = c,
                Kind::Comment => comment = c,
                Kind::Literal => code = if c == '"' || c == '\'' { c } else { ' ' },
            }
            out.code.push(if c == '\n' { c } else { code });
            out.comments.push(if c == '\n' { c } else { comment });
        }
        at = end;
    }
    out
}

#[derive(Clone, Copy)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The end of the token that starts at `at`.
fn token(text: &[char], at: usize) -> (usize, Kind) {
    let next = |n: usize| text.get(at + n).copied().unwrap_or('\0');
    let inside_word = at > 0 && is_word(text[at - 1]);
    match text[at] {
        '/' if next(1) == '/' => (find(text, at, |i| text[i] == '\n'), Kind::Comment),
        '/' if next(1) == '*' => (block_comment_end(text, at), Kind::Comment),
        '"' => (quoted_end(text, at + 1, '"'), Kind::Literal),
        'r' | 'b' | 'c' if !inside_word => match raw_string_hashes(text, at) {
            Some((start, hashes)) => (raw_string_end(text, start, hashes), Kind::Literal),
            None => (at + 1, Kind::Code),
        },
        // A lifetime has no closing quote after one character; an escape always makes it a literal.
        '\'' if next(1) == '\\' || next(2) == '\'' => (quoted_end(text, at + 1, '\''), Kind::Literal),
        _ => (at + 1, Kind::Code),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(text: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..text.len()).find(|&i| is_end(i)).unwrap_or(text.len())
}

fn block_comment_end(text: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i + 1 < text.len() {
        match (text[i], text[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    text.len()
}

fn quoted_end(text: &[char], from: usize, quote: char) -> usize {
    let mut i = from;
    while i < text.len() && text[i] != quote {
        i += if text[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(text.len())
}

/// For `r"`, `r#"`, `br#"` and the like: the position after the opening quote, and the number of hashes.
fn raw_string_hashes(text: &[char], at: usize) -> Option<(usize, usize)> {
    let r = if text[at] == 'r' { at } else { at + 1 };
    if text.get(r) != Some(&'r') {
        return None;
    }
    let quote = find(text, r + 1, |i| text[i] != '#');
    (text.get(quote) == Some(&'"')).then_some((quote + 1, quote - r - 1))
}

fn raw_string_end(text: &[char], from: usize, hashes: usize) -> usize {
    let closes = |i: usize| text[i] == '"' && text[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    (find(text, from, closes) + 1 + hashes).min(text.len())
}

/// Every function with a body, in code that [`split`] returned.
pub fn functions(code: &str) -> Vec<Function> {
    let text: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    for at in words(&text, "fn") {
        let name: String =
            text[at + 2..].iter().skip_while(|c| c.is_whitespace()).take_while(|c| is_word(**c)).collect();
        // `fn` without a name is a pointer type; without a body it is a declaration.
        if name.is_empty() {
            continue;
        }
        let open = find(&text, at, |i| matches!(text[i], '{' | ';'));
        if text.get(open) == Some(&'{') {
            let line_of = |i: usize| text[..i].iter().filter(|&&c| c == '\n').count() + 1;
            let (line, last) = (line_of(at), line_of(closing_brace(&text, open)));
            found.push(Function { name, line, lines: last - line + 1 });
        }
    }
    found
}

/// Where `word` stands as a word of its own.
fn words(text: &[char], word: &str) -> Vec<usize> {
    let word: Vec<char> = word.chars().collect();
    let whole = |at: usize| {
        text[at..].starts_with(&word)
            && (at == 0 || !is_word(text[at - 1]))
            && text.get(at + word.len()).is_none_or(|&c| !is_word(c))
    };
    (0..text.len()).filter(|&at| whole(at)).collect()
}

/// The code contains `word` as a word of its own.
pub fn has_word(code: &str, word: &str) -> bool {
    !words(&code.chars().collect::<Vec<_>>(), word).is_empty()
}

fn closing_brace(text: &[char], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, c) in text.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return i,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Blanks out every `#[cfg(test)]` item that has a body.
pub fn without_tests(code: &str) -> String {
    let mut text: Vec<char> = code.chars().collect();
    let mark: Vec<char> = "#[cfg(test)]".chars().collect();
    let starts: Vec<usize> = (0..text.len()).filter(|&i| text[i..].starts_with(&mark)).collect();
    for start in starts {
        let open = find(&text, start, |i| matches!(text[i], '{' | ';'));
        let end = if text.get(open) == Some(&'{') { closing_brace(&text, open) } else { open };
        for c in &mut text[start..(end + 1).min(code.chars().count())] {
            if *c != '\n' {
                *c = ' ';
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn strings_comments_and_lifetimes_do_not_fool_it() {
    let source = r##"
fn a<'a>(x: &'a str) -> char { // } not a brace
    let _ = ("} \" {", r#"{ "unsafe" "#, b'{', '\'', /* { /* { */ */ 'x');
    '}'
}
#[cfg(test)]
mod tests { fn b() {} }
"##;
    let split = split(source);
    let found: Vec<_> = functions(&split.code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("a".to_owned(), 2, 4), ("b".to_owned(), 7, 1)]);
    assert!(!has_word(&split.code, "unsafe") && split.comments.contains("} not a brace"));
    assert!(!without_tests(&split.code).contains("mod tests") && without_tests(&split.code).contains("fn a"));
}
