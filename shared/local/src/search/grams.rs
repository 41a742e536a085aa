//! Texts and keywords as tokens for FTS5's tokenizer `ascii`, which keeps letters, digits and all that is not ASCII, and ends
//! a token at anything else.
//!
//! A token is the number of the partition, `x`, and two characters; a text ends with a token of its last character alone, so
//! that every character begins one. Blanks and punctuation take their full-width forms, which folded text does not contain.

use std::collections::HashSet;

/// Pairs of a keyword that are looked for at the most; each candidate is read anyway.
const MOST: usize = 16;

fn letter(c: char) -> char {
    match c {
        ' ' => '\u{3000}',
        '!'..='~' if !c.is_ascii_alphanumeric() => char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c),
        _ => c,
    }
}

/// The tokens of a text, each once, with blanks between them.
pub(super) fn of_text(part: i64, text: &str) -> String {
    let mut tokens = String::with_capacity(text.len() * 3);
    let mut seen = HashSet::new();
    let mut chars = text.chars().map(letter).peekable();
    while let Some(first) = chars.next() {
        let second = chars.peek().copied();
        if seen.insert((first, second)) {
            if !tokens.is_empty() {
                tokens.push(' ');
            }
            token(&mut tokens, part, first, second);
        }
    }
    tokens
}

/// A keyword as an expression for `MATCH`, and whether whatever matches contains the keyword.
pub(super) fn of_keyword(part: i64, keyword: &str) -> (String, bool) {
    let chars: Vec<char> = keyword.chars().map(letter).collect();
    let mut expression = String::new();
    if let [only] = chars[..] {
        quoted(&mut expression, part, only, None);
        expression.push('*');
        return (expression, true);
    }
    let mut seen = HashSet::new();
    for pair in chars.windows(2) {
        if seen.len() < MOST && seen.insert((pair[0], pair[1])) {
            if !expression.is_empty() {
                expression.push_str(" AND ");
            }
            quoted(&mut expression, part, pair[0], Some(pair[1]));
        }
    }
    (expression, chars.len() == 2)
}

/// Nothing in a token needs an escape: quotes are full-width in there.
fn quoted(expression: &mut String, part: i64, first: char, second: Option<char>) {
    expression.push('"');
    token(expression, part, first, second);
    expression.push('"');
}

fn token(to: &mut String, part: i64, first: char, second: Option<char>) {
    to.push_str(&part.to_string());
    to.push('x');
    to.push(first);
    to.extend(second);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_its_pairs_and_its_end() {
        assert_eq!(of_text(7, "张三丰"), "7x张三 7x三丰 7x丰");
        assert_eq!(of_text(7, "aaa b"), "7xaa 7xa\u{3000} 7x\u{3000}b 7xb");
        assert_eq!(of_text(7, ""), "");
    }

    #[test]
    fn a_keyword_is_its_pairs_or_a_beginning() {
        assert_eq!(of_keyword(7, "三"), ("\"7x三\"*".into(), true));
        assert_eq!(of_keyword(7, "\"*"), ("\"7x＂＊\"".into(), true));
        assert_eq!(of_keyword(7, "张三丰"), ("\"7x张三\" AND \"7x三丰\"".into(), false));
        assert_eq!(of_keyword(7, "aaaa"), ("\"7xaa\"".into(), false));
        let long: String = ('a'..='z').collect();
        assert_eq!(of_keyword(7, &long).0.matches("AND").count(), MOST - 1);
    }
}
