//! What is printed from the option table stands elsewhere too, and is kept in step.

use midge::config::options;
use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
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
fn the_manual_page_is_the_one_that_midge_prints() {
    assert_eq!(
        file("packaging/man/midge.conf.5"),
        options::render_page(),
        "midge --manual > packaging/man/midge.conf.5"
    );
}
