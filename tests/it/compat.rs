//! What docs/compat.md says is proven by a test is so: every test that it names is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

const PAGES: [&str; 2] = ["docs/compat.md", "docs/compat/faults.md"];

fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a path, which may be a file itself.
fn sources(path: PathBuf, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path);
    } else if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| sources(entry.unwrap().path(), found));
    }
}

/// Whether `file::name` is a test of tests/it, or `module::tests::name` one beside the code.
fn is_rust_test(named: &str) -> bool {
    let mut path: Vec<&str> = named.split("::").collect();
    let name = path.pop().unwrap();
    path.retain(|part| *part != "tests");
    let mut files = Vec::new();
    for root in ["tests/it", "src"] {
        let at = repo().join(root).join(path.join("/"));
        sources(at.with_extension("rs"), &mut files);
        sources(at, &mut files);
    }
    let wanted = format!("fn {name}(");
    files.iter().any(|file| fs::read_to_string(file).unwrap().contains(&wanted))
}

fn python_has(file: &str, function: &str) -> bool {
    fs::read_to_string(repo().join(file)).is_ok_and(|text| text.contains(&format!("def {function}(")))
}

/// The names in a cell of the last column that are no test. What is not written as a name is not looked at.
fn missing(cell: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for named in cell.split('`').skip(1).step_by(2) {
        let is_name = named.contains("::") && named.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_:".contains(&b));
        if is_name && !is_rust_test(named) {
            missing.push(named.to_owned());
        }
    }
    let mut suite = "";
    for item in cell.split([',', ';']).map(str::trim) {
        let mut words = item.split(' ');
        let first = words.next().unwrap_or_default();
        let name = if ["e2e", "conformance"].contains(&first) {
            suite = first;
            words.next().unwrap_or_default()
        } else {
            first
        };
        let there = match (suite, name.split_once('.')) {
            ("conformance", Some((file, case))) => python_has(&format!("tests/conformance/cases/{file}.py"), &format!("case_{case}")),
            ("e2e", None) if first == "e2e" => ["suite", "daemon", "engines", "outages", "tls"]
                .iter()
                .any(|file| python_has(&format!("tests/e2e/{file}.py"), &format!("test_{name}"))),
            _ => true,
        };
        if !there {
            missing.push(item.to_owned());
        }
    }
    missing
}

/// The rows of the tables that have a column of tests, as line number and cells.
fn rows(page: &str) -> Vec<(usize, Vec<String>)> {
    let text = fs::read_to_string(repo().join(page)).unwrap();
    let mut rows = Vec::new();
    let mut with_tests = false;
    for (number, line) in text.lines().enumerate() {
        let Some(inner) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            with_tests &= line.starts_with('|');
            continue;
        };
        let cells: Vec<_> = inner.split(" | ").map(str::to_owned).collect();
        if cells.last().is_some_and(|cell| cell == "test") {
            with_tests = true;
        } else if with_tests {
            rows.push((number + 1, cells));
        }
    }
    rows
}

/// A row has its verdict first, and a test or the reason why there is none.
#[test]
fn every_row_has_a_verdict_and_a_test() {
    let mut wrong = Vec::new();
    for page in PAGES {
        for (number, cells) in rows(page) {
            let (verdict, test) = (&cells[1], &cells[cells.len() - 1]);
            let word: String = verdict.chars().take_while(char::is_ascii_lowercase).collect();
            // The page of faults says what is absent.
            let judged = page != PAGES[0] || ["same", "repaired", "different", "new"].contains(&word.as_str());
            let tested = test.contains("::") || ["e2e ", "conformance ", "step", "no test: "].iter().any(|start| test.starts_with(start));
            if !judged || !tested || cells.len() != 3 {
                wrong.push(format!("{page}:{number}: {}", cells.join(" | ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for page in PAGES {
        let text = fs::read_to_string(repo().join(page)).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("| ")) {
            rows += 1;
            let cell = line.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
            wrong.extend(missing(cell).into_iter().map(|name| format!("{page}:{}: {name}", number + 1)));
        }
    }
    assert!(rows > 150 && wrong.is_empty(), "{rows} rows: {wrong:#?}");
    assert_eq!(missing("`life::no_such_test`, e2e no_such_test, conformance ports.no_such_case").len(), 3);
}
