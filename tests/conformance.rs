//! Every normative statement of MQTT 3.1.1 and 5.0 that binds a server has evidence: a test that
//! exists and cites it, or a written reason why none can.
//!
//! `conformance.txt` lists the statements, `conformance_evidence.txt` what shows each; both say how
//! their rows are written. This file runs no broker: it only keeps the two honest.
//! `cargo test --test conformance -- --nocapture` prints the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Characters of a gist at most: the index is a list to skim, not a second specification.
const GIST_CHARS_MAX: usize = 100;

/// The one statement whose number was never given out, so that its section begins at 2.
const NEVER_NUMBERED: &str = "MQTT5-2.2.1-1";

/// The edition of the specification a statement stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specification {
    V311,
    V5,
}

impl Specification {
    const ALL: [Self; 2] = [Self::V311, Self::V5];

    const fn prefix(self) -> &'static str {
        match self {
            Self::V311 => "MQTT-",
            Self::V5 => "MQTT5-",
        }
    }
}

impl fmt::Display for Specification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5.0",
        })
    }
}

/// The section of a specification that a statement stands in, as `MQTT5-3.1.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Section {
    specification: Specification,
    path: [u8; 3],
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [chapter, section, part] = self.path;
        write!(
            f,
            "{}{chapter}.{section}.{part}",
            self.specification.prefix()
        )
    }
}

/// What a statement is called, as `MQTT5-3.1.2-22`; ordered as the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    section: Section,
    number: u8,
}

impl Id {
    /// Reads an id that is spelt the one way [`Id`] is printed; `None` otherwise.
    fn parse(text: &str) -> Option<Self> {
        let specification = Specification::ALL
            .into_iter()
            .find(|one| text.starts_with(one.prefix()))?;
        let (path, number) = text[specification.prefix().len()..].split_once('-')?;
        let path: Vec<u8> = path
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let section = Section {
            specification,
            path: path.try_into().ok()?,
        };
        let id = Self {
            section,
            number: number.parse().ok()?,
        };
        (id.to_string() == text).then_some(id)
    }

    /// How a test cites it.
    fn citation(self) -> String {
        format!("[{self}]")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.section, self.number)
    }
}

/// One row of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence<'a> {
    /// A function of a test file.
    Test { file: &'a str, name: &'a str },
    /// A foreign client's test, in `tests/clients`.
    Client { file: &'a str, name: &'a str },
    /// A codec row, in `tests/vectors`; any line of the file, or this one, counted from 1.
    Vector { file: &'a str, line: Option<usize> },
    /// Why no test can show it.
    None { reason: &'a str },
}

impl<'a> Evidence<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Some(reason) = text.strip_prefix("none:") {
            let reason = reason.trim();
            return (!reason.is_empty()).then_some(Self::None { reason });
        }
        if let Some(row) = text.strip_prefix("vectors:") {
            return match row.split_once('#') {
                None => Some(Self::Vector {
                    file: row,
                    line: None,
                }),
                Some((file, line)) => Some(Self::Vector {
                    file,
                    line: Some(line.parse().ok()?),
                }),
            };
        }
        let (file, name) = text.split_once("::")?;
        Some(match file.strip_prefix("clients:") {
            Some(file) => Self::Client { file, name },
            None => Self::Test { file, name },
        })
    }

    /// Looks whether what it names is there.
    ///
    /// # Errors
    /// What is missing, in words.
    fn check(self, id: Id, root: &Path) -> Result<(), String> {
        match self {
            Self::None { .. } => Ok(()),
            Self::Test { file, name } => {
                let source = read(&root.join(file))?;
                if !source.contains(&id.citation()) {
                    return Err(format!("{file} does not cite {}", id.citation()));
                }
                expect_function(&source, file, name)
            }
            Self::Client { file, name } => {
                expect_function(&read(&root.join("tests/clients").join(file))?, file, name)
            }
            Self::Vector { file, line } => {
                let rows = read(&root.join("tests/vectors").join(file))?;
                let cited = rows
                    .lines()
                    .enumerate()
                    .filter(|(index, _)| line.is_none_or(|line| index + 1 == line))
                    .any(|(_, row)| !row.starts_with('#') && row.contains(&id.citation()));
                if cited {
                    Ok(())
                } else {
                    Err(format!("no such row cites {}", id.citation()))
                }
            }
        }
    }
}

/// What was read from the two files, and what is wrong with them.
#[derive(Debug, Default)]
struct Findings {
    all: BTreeSet<Id>,
    server_binding: BTreeSet<Id>,
    shown: BTreeSet<Id>,
    reasoned: BTreeSet<Id>,
    faults: Vec<String>,
}

impl Findings {
    fn read_index(&mut self, text: &str) {
        for (line, columns) in rows(text) {
            let row = match columns[..] {
                [id, binds, gist] => Id::parse(id).map(|id| (id, binds, gist)),
                _ => None,
            };
            let Some((id, binds, gist)) = row else {
                self.faults
                    .push(format!("index line {line}: not `id | who it binds | gist`"));
                continue;
            };
            if self.all.last().is_some_and(|last| *last >= id) {
                self.faults
                    .push(format!("index line {line}: {id} is out of order"));
            }
            if gist.is_empty() || gist.chars().count() > GIST_CHARS_MAX {
                self.faults
                    .push(format!("index line {line}: gist of {id} empty or too long"));
            }
            self.all.insert(id);
            match binds {
                "server" | "both" => _ = self.server_binding.insert(id),
                "client" => {}
                _ => self
                    .faults
                    .push(format!("index line {line}: {id} binds `{binds}`?")),
            }
        }
        self.find_gaps();
    }

    /// The numbers of a section run from 1 without a gap, so that no row is lost unseen.
    fn find_gaps(&mut self) {
        for id in &self.all {
            let before = Id {
                number: id.number.saturating_sub(1),
                ..*id
            };
            let first = before.number == 0 || before.to_string() == NEVER_NUMBERED;
            if !first && !self.all.contains(&before) {
                self.faults.push(format!("index: {id} without {before}"));
            }
        }
    }

    fn read_evidence(&mut self, text: &str, root: &Path) {
        for (line, columns) in rows(text) {
            let row = match columns[..] {
                [id, evidence] => Id::parse(id).zip(Evidence::parse(evidence)),
                _ => None,
            };
            let Some((id, evidence)) = row else {
                self.faults
                    .push(format!("evidence line {line}: not `id | evidence`"));
                continue;
            };
            if !self.all.contains(&id) {
                self.faults
                    .push(format!("evidence line {line}: no statement {id}"));
                continue;
            }
            if let Err(fault) = evidence.check(id, root) {
                self.faults
                    .push(format!("evidence line {line}: {id}: {fault}"));
            }
            match evidence {
                Evidence::None { .. } => self.reasoned.insert(id),
                _ => self.shown.insert(id),
            };
        }
        for id in self.shown.intersection(&self.reasoned) {
            self.faults.push(format!(
                "evidence: {id} has a test and a reason for having none"
            ));
        }
    }

    /// Server-binding statements without any evidence.
    fn missing(&self) -> BTreeSet<Id> {
        let bare = |id: &&Id| !self.shown.contains(id) && !self.reasoned.contains(id);
        self.server_binding.iter().filter(bare).copied().collect()
    }

    fn counts(&self) -> String {
        let mut table =
            "              statements  server-binding  by tests  by reasons  missing\n".to_owned();
        let missing = self.missing();
        for specification in Specification::ALL {
            let count = |ids: &BTreeSet<Id>| {
                ids.iter()
                    .filter(|id| id.section.specification == specification)
                    .count()
            };
            // A client's statement may have a test too, by the bridge; it is not counted here.
            let shown = self
                .shown
                .intersection(&self.server_binding)
                .copied()
                .collect();
            let reasoned = self
                .reasoned
                .intersection(&self.server_binding)
                .copied()
                .collect();
            table += &format!(
                "{specification:<12}  {:>10}  {:>14}  {:>8}  {:>10}  {:>7}\n",
                count(&self.all),
                count(&self.server_binding),
                count(&shown),
                count(&reasoned),
                count(&missing),
            );
        }
        table
    }
}

/// The rows of a file that is neither comment nor empty: line number, counted from 1, and columns.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines()
        .enumerate()
        .filter(|(_, row)| !row.trim().is_empty() && !row.starts_with('#'))
        .map(|(index, row)| (index + 1, row.split('|').map(str::trim).collect()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn expect_function(source: &str, file: &str, name: &str) -> Result<(), String> {
    let (keyword, comment) = match file.rsplit_once('.') {
        Some((_, "rs")) => ("fn", "//"),
        Some((_, "py")) => ("def", "#"),
        _ => return Err(format!("{file}: neither a .rs nor a .py file")),
    };
    if defines(source, keyword, comment, name) {
        Ok(())
    } else {
        Err(format!("{file} has no `{keyword} {name}`"))
    }
}

/// Whether some line of `source` that is no `comment` holds `keyword name` and a parameter list.
fn defines(source: &str, keyword: &str, comment: &str, name: &str) -> bool {
    let head = format!("{keyword} {name}");
    source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with(comment))
        .any(|line| {
            line.split_once(&head).is_some_and(|(before, after)| {
                (before.is_empty() || before.ends_with(' ')) && after.starts_with(['(', '<'])
            })
        })
}

/// Ids, a section a line, with runs of numbers drawn together: `MQTT-3.1.2: 1 3-5`.
fn compact(ids: &BTreeSet<Id>) -> String {
    let mut sections: BTreeMap<Section, Vec<(u8, u8)>> = BTreeMap::new();
    for id in ids {
        let runs = sections.entry(id.section).or_default();
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == id.number => *end = id.number,
            _ => runs.push((id.number, id.number)),
        }
    }
    let mut lines = String::new();
    for (section, runs) in sections {
        lines += &format!("  {section}:");
        for (start, end) in runs {
            lines += &if start == end {
                format!(" {start}")
            } else {
                format!(" {start}-{end}")
            };
        }
        lines += "\n";
    }
    lines
}

#[test]
fn every_statement_that_binds_a_server_has_evidence() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let index = read(&root.join("tests/conformance.txt")).unwrap();
    let evidence = read(&root.join("tests/conformance_evidence.txt")).unwrap();
    let mut findings = Findings::default();
    findings.read_index(&index);
    findings.read_evidence(&evidence, &root);

    println!("{}", findings.counts());
    let missing = findings.missing();
    if !missing.is_empty() {
        print!("without evidence:\n{}", compact(&missing));
    }
    for fault in &findings.faults {
        println!("{fault}");
    }
    assert!(
        missing.is_empty() && findings.faults.is_empty(),
        "{} statements without evidence, {} faults: see above",
        missing.len(),
        findings.faults.len(),
    );
}

#[test]
fn ids_have_one_spelling() {
    for good in ["MQTT-1.5.3-1", "MQTT5-4.12.0-7"] {
        assert_eq!(
            Id::parse(good).map(|id| id.to_string()).as_deref(),
            Some(good)
        );
    }
    for bad in [
        "MQTT-3.1.2.7",
        "MQTT-3.1.2-07",
        "MQTT5-4.12-7",
        "MQTT31-3.1.2-1",
        "3.1.2-7",
        "",
    ] {
        assert_eq!(Id::parse(bad), None, "{bad}");
    }
}

#[test]
fn missing_ids_are_listed_compactly() {
    let ids = [
        "MQTT-3.1.2-1",
        "MQTT-3.1.2-3",
        "MQTT-3.1.2-4",
        "MQTT-3.1.2-5",
        "MQTT5-3.1.2-6",
    ];
    let ids = ids.iter().filter_map(|id| Id::parse(id)).collect();
    assert_eq!(compact(&ids), "  MQTT-3.1.2: 1 3-5\n  MQTT5-3.1.2: 6\n");
}

#[test]
fn a_broken_index_is_noticed() {
    let mut findings = Findings::default();
    findings.read_index(
        "# comment\n\
         MQTT-1.5.3-1 | both   | good\n\
         MQTT-1.5.3-3 | client | without its neighbour\n\
         MQTT-1.5.3-2 | nobody | late and of no one\n\
         MQTT-1.5.4   | both   | no id\n\
         MQTT-2.2.2-2 | server | a section that begins at 2\n\
         MQTT5-2.2.1-2 | server | as in the specification\n",
    );
    assert_eq!(
        findings.faults,
        [
            "index line 4: MQTT-1.5.3-2 is out of order",
            "index line 4: MQTT-1.5.3-2 binds `nobody`?",
            "index line 5: not `id | who it binds | gist`",
            "index: MQTT-2.2.2-2 without MQTT-2.2.2-1",
        ],
    );
}

#[test]
fn broken_evidence_is_noticed() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let cited = Id::parse("MQTT-1.5.3-1")
        .map(Id::citation)
        .unwrap_or_default();
    for (file, text) in [
        (
            "tests/some.rs",
            format!("fn shown() {{}} // {cited}\n// fn hidden() {{}}\n"),
        ),
        (
            "tests/clients/some.py",
            "async def shown(broker):\n# def hidden():\n".to_owned(),
        ),
        (
            "tests/vectors/some.txt",
            format!("c0 00 | any | PingReq\nc1 00 | any | {cited}\n"),
        ),
    ] {
        let file = root.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let mut findings = Findings::default();
    findings.read_index("MQTT-1.5.3-1 | both | one\nMQTT-1.5.3-2 | both | two\n");
    findings.read_evidence(
        "MQTT-1.5.3-1 | tests/some.rs::shown\n\
         MQTT-1.5.3-1 | clients:some.py::shown\n\
         MQTT-1.5.3-1 | vectors:some.txt\n\
         MQTT-1.5.3-1 | vectors:some.txt#2\n\
         MQTT-1.5.3-1 | tests/some.rs::hidden\n\
         MQTT-1.5.3-1 | clients:some.py::hidden\n\
         MQTT-1.5.3-1 | vectors:some.txt#1\n\
         MQTT-1.5.3-1 | none: a reason beside a test\n\
         MQTT-1.5.3-2 | tests/some.rs::shown\n\
         MQTT-1.5.3-2 | none:\n\
         MQTT-1.5.3-3 | none: no such statement\n",
        &root,
    );
    assert_eq!(
        findings.faults,
        [
            "evidence line 5: MQTT-1.5.3-1: tests/some.rs has no `fn hidden`".to_owned(),
            "evidence line 6: MQTT-1.5.3-1: some.py has no `def hidden`".to_owned(),
            format!("evidence line 7: MQTT-1.5.3-1: no such row cites {cited}"),
            format!(
                "evidence line 9: MQTT-1.5.3-2: tests/some.rs does not cite [{}]",
                "MQTT-1.5.3-2"
            ),
            "evidence line 10: not `id | evidence`".to_owned(),
            "evidence line 11: no statement MQTT-1.5.3-3".to_owned(),
            "evidence: MQTT-1.5.3-1 has a test and a reason for having none".to_owned(),
        ],
    );
}
