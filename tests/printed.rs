//! What is printed from the option table stands elsewhere too, and is kept in step.

use midge::command::SWITCHES;
use midge::config::options;
use midge::manual;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod process;
mod table;
use process::run;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_readme_has_the_table_that_midge_prints() {
    let readme = file("README.md");
    let (_, rest) = readme
        .split_once("<!-- options -->\n")
        .expect("where it begins");
    let (table, _) = rest
        .split_once("<!-- end of options -->")
        .expect("where it ends");
    assert_eq!(
        table.trim(),
        options::render_table().trim(),
        "put what `midge --options` prints between the two comments of the README"
    );
}

#[test]
fn the_manual_pages_are_those_that_midge_prints() {
    for (name, render) in manual::PAGES {
        let path = format!("packaging/man/{name}");
        let printed = render();
        assert_eq!(file(&path), printed, "midge --manual {name} > {path}");
        let (code, out, err) = run(&["--manual", name]);
        assert_eq!((code, out, err), (0, printed, String::new()));
    }
    assert_eq!(run(&["--manual"]).1, file("packaging/man/midge.conf.5"));
    let (code, _, err) = run(&["--manual", "midge.1"]);
    assert_eq!(code, 3);
    assert!(err.contains("no manual page 'midge.1'"), "{err}");
}

/// What a formatter says of a page, which ought to be nothing.
fn complaints(program: &str, arguments: &[&str], page: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(page).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, of {program}.deb: {error}"));
    let text = match program {
        "mandoc" => output.stdout,
        _ => output.stderr,
    };
    String::from_utf8(text).unwrap()
}

#[test]
fn formatters_have_nothing_against_the_manual_pages() {
    for (name, _) in manual::PAGES {
        let page = path(&format!("packaging/man/{name}"));
        let groff = complaints("groff", &["-man", "-ww", "-Tutf8"], &page);
        let mandoc = complaints("mandoc", &["-Tlint"], &page);
        assert_eq!((groff, mandoc), (String::new(), String::new()), "{name}");
    }
}

#[test]
fn every_switch_of_the_command_line_is_in_help_and_manual() {
    let (help, page) = (run(&["--help"]).1, manual::page("midge.8").unwrap());
    for switch in SWITCHES {
        let long = format!("--{}", switch.long);
        assert!(help.contains(&long), "{long}");
        assert!(page.contains(&long.replace('-', "\\-")), "{long}");
    }
}
