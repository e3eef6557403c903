//! The words of a page: they are those of the report, wherever the trace comes from, and none of them is markup.

use crate::common::{contended, expect};
use crate::traces::hostile;
use crate::{between, data, good, locktrace, page};
use std::fs;
use std::process::Stdio;

#[test]
fn a_page_says_what_the_report_says() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let found = page(dir.path());
    // Style, script and their hashes change with every change of theirs.
    let mut kept = found.replace(dir.path().to_str().unwrap(), "TRACE");
    for (from, to) in [("<style>", "</style>"), ("<script>", "</script>"), ("Content-Security-Policy\" content=\"", "\"")] {
        let changing = between(&kept, from, to).to_owned();
        kept = kept.replace(&changing, "…");
    }
    let kept = kept.replace("><", ">\n<");
    expect("report.html", &kept);
    for address in ["http://", "https://", "//cdn", "@import", "url("] {
        assert!(!found.replace("http-equiv", "").contains(address), "{address}");
    }
}

#[test]
fn a_page_of_lines_is_the_page_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let lines = dir.path().join("export.jsonl");
    fs::write(&lines, good(locktrace(&["cat", dir.path().to_str().unwrap(), "--json"]).output().unwrap())).unwrap();
    // But for the commands, which name the trace.
    let unnamed = |page: String, trace: &str| {
        page.replace(&format!("explain {trace} --"), "explain --").replace(&format!("explain {trace}\""), "explain\"")
    };
    let whole = unnamed(page(dir.path()), dir.path().to_str().unwrap());
    assert_eq!(whole, unnamed(page(&lines), lines.to_str().unwrap()));
    let piped = locktrace(&["report", "-", "--html", "-"]).stdin(fs::File::open(&lines).unwrap()).output().unwrap();
    assert_eq!(whole, unnamed(good(piped), "-"));
}

#[test]
fn what_is_written_where() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = dir.path().to_str().unwrap();
    let to = dir.path().join("out.html");
    let said = good(locktrace(&["report", trace, "--html", to.to_str().unwrap()]).output().unwrap());
    assert!(said.starts_with(&format!("The page is in {}, ", to.display())) && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read_to_string(&to).unwrap(), page(dir.path()));
    let nowhere = locktrace(&["report", trace, "--html", "/nowhere/at/all.html"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/at/all.html.partial: cannot be written"), "{nowhere:?}");
    assert_eq!(locktrace(&["report", trace, "--html", "-", "--json"]).output().unwrap().status.code(), Some(2));
    // Whoever reads the page has had enough of it.
    let mut child = locktrace(&["report", trace, "--html", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    hostile(dir.path());
    let found = page(dir.path());
    assert_eq!(found.matches("<script").count(), 2, "the data's and ours");
    assert_eq!(found.matches("</script").count(), 2);
    assert!(!found.contains("<img") && !found.contains("<!--"));
    let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}' | '\u{2029}');
    assert!(!found.contains(bad), "{:?}", found.chars().find(|&c| bad(c)));
    assert!(found.len() < 200_000, "a statement of a megabyte is cut: {}", found.len());
    let data = data(&found);
    assert!(data["sql"].as_array().unwrap().iter().any(|sql| sql[1].as_u64() > Some(1_000_000)), "and its length is said");
    assert!(data["threads"]["0:101"].as_str().unwrap().contains("</script>"));
}
