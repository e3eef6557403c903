//! The paths in Rust source: `use` trees, expanded, and paths in the code, each with its line. Comments are skipped.
use std::path::Path;

/// The code of a file, without its comments.
pub fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.find("//").map_or(line, |at| &line[..at])).collect::<Vec<_>>().join("\n")
}

/// The code before the tests in a file.
pub fn without_tests(code: &str) -> &str {
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let rest = &code[start..];
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            let item = rest.lines().find(|line| !line.starts_with("#[") && !line.is_empty());
            if item.is_some_and(|item| item.contains("mod ") && item.ends_with('{')) {
                return &code[..start];
            }
        }
        start += line.len();
    }
    code
}

/// The paths of a `use` tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn expand(tree: &str, prefix: &str, out: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return out.push(format!("{prefix}{}", tree.split(" as ").next().unwrap().trim()));
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(inner[start..at].trim(), &format!("{prefix}{}", head.trim()), out);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// A path, and the number of its line.
pub type PathAt = (usize, String);

/// Every path in the code that may lead to a module. A `use` tree has the line on which it begins.
pub fn paths(code: &str) -> Vec<PathAt> {
    let mut out = Vec::new();
    let (mut left, mut line) = (code, 1);
    let separate = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    let words = |text: &str, first: usize, out: &mut Vec<PathAt>| {
        for (line, text) in (first..).zip(text.split('\n')) {
            // The path of a visibility leads to no other module.
            let text = match text.split_once("pub(in ") {
                Some((before, rest)) => format!("{before} {}", rest.split_once(')').map_or("", |(_, rest)| rest)),
                None => text.to_owned(),
            };
            out.extend(text.split(separate).filter(|word| word.contains("::")).map(|word| (line, word.to_owned())));
        }
    };
    while let Some(at) = left.find("use ") {
        let begins = left[..at].lines().last().filter(|_| !left[..at].ends_with('\n')).unwrap_or("").trim();
        let end = left[at..].find(';').map_or(left.len(), |end| at + end);
        let tree = begins.is_empty() || begins == "pub" || (begins.starts_with("pub(") && begins.ends_with(')'));
        words(&left[..if tree { at } else { end }], line, &mut out);
        if tree {
            let line = line + left[..at].matches('\n').count();
            let mut expanded = Vec::new();
            expand(&left[at + 4..end].replace('\n', " "), "", &mut expanded);
            out.extend(expanded.into_iter().map(|path| (line, path)));
        }
        line += left[..end].matches('\n').count();
        left = &left[end..];
    }
    words(left, line, &mut out);
    out
}
