//! Browsers: they start, load a local page and end as they do bare.
//!
//! What they write on standard error has times and process numbers, and differs between two bare runs; it is not compared.

use super::row::{Ended, Row, Sql};
use crate::packages::skipped;
use crate::seen::Seen;
use std::fs;
use std::path::Path;

const PAGE: &str = "<!doctype html><title>page</title><p id=said><script>said.textContent = 'two ' + 'words'</script>";

/// Runs a browser with a profile of its own, bare and traced; `ended` gives what must be the same. The trace has a file of the profile.
fn browse<T: std::fmt::Debug + PartialEq>(row: &Row, command: &[&str], sql: Sql, ended: impl Fn(Ended) -> T) {
    fs::write(row.place.path("page.html"), PAGE).unwrap();
    let profile = row.place.path("profile");
    fs::create_dir(&profile).unwrap();
    let bare = ended(row.bare(command));
    fs::remove_dir_all(&profile).unwrap();
    fs::create_dir(&profile).unwrap();
    let (traced, summary) = row.traced(command);
    assert_eq!(ended(traced), bare, "traced, and bare; locktrace says: {summary}");
    assert!(row.place.path("locktrace-trace").exists(), "there is no trace; locktrace says: {summary}");
    let seen = Seen::of(&row.place);
    let mut files = seen.names.iter().filter(|line| line["t"] == "file").filter_map(|line| line["path"].as_str());
    assert!(files.any(|path| path.starts_with(profile.to_str().unwrap())), "a database of the profile: {:?}", seen.names);
    assert_eq!(seen.names.iter().any(|line| line["t"] == "sql"), sql == Sql::Text, "{:?}", seen.names);
    assert_eq!(summary.contains("without the text of its SQL"), sql == Sql::Without, "{summary}");
    assert!(seen.records.iter().any(|record| record["kind"] == "xLock"), "locks: {} records", seen.records.len());
}

#[test]
fn firefox() {
    if !Path::new("/usr/bin/firefox-esr").exists() {
        return skipped("/usr/bin/firefox-esr (Debian's firefox-esr) is not there");
    }
    let row = Row::new(&[]);
    let path = |name: &str| row.place.path(name).to_str().unwrap().to_owned();
    fs::create_dir(path("home")).unwrap();
    let (home, profile, shot) = (format!("HOME={}", path("home")), path("profile"), path("shot.png"));
    let page = format!("file://{}", path("page.html"));
    let command = ["env", &home, "firefox-esr", "--headless", "--no-remote", "--profile", &profile, "--screenshot", &shot, &page];
    browse(&row, &command, Sql::Text, |ended| {
        // The picture it has made is removed, so that the next run has to make one, too.
        assert!(fs::remove_file(&shot).is_ok(), "no screenshot: {ended:?}");
        (ended.code, ended.out)
    });
}

/// Its SQLite is in the executable, stripped, and was built without the loading of extensions.
#[test]
fn chromium() {
    if !Path::new("/usr/bin/chromium").exists() {
        return skipped("/usr/bin/chromium (Debian's chromium) is not there");
    }
    let row = Row::new(&[]);
    let path = |name: &str| row.place.path(name).to_str().unwrap().to_owned();
    let (profile, page) = (format!("--user-data-dir={}", path("profile")), format!("file://{}", path("page.html")));
    let command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", &profile, "--dump-dom", &page];
    browse(&row, &command, Sql::Without, |ended| {
        assert!(ended.out.contains("two words"), "the page's script has run: {ended:?}");
        (ended.code, ended.out)
    });
}
