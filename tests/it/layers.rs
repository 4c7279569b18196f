//! Holds the layer rules of ARCHITECTURE.md: which module may name which other one.

use std::{collections::BTreeSet, fs, path::Path};

const LEAVES: [&str; 5] = ["config", "mac", "metrics", "telemetry", "error"];

/// Module, and what it may name besides itself and the leaves. `app` and `cli` may name all.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("libnetwork", &["core", "http"]),
    ("core", &["journal", "openstack", "binding"]),
    ("journal", &[]),
    ("openstack", &["http"]),
    ("binding", &["netlink", "ovsdb", "nft", "http"]),
    ("controller", &["nft", "netlink", "http"]),
    ("netlink", &[]),
    ("nft", &[]),
    ("ovsdb", &[]),
    ("http", &[]),
    ("config", &[]),
    ("mac", &[]),
    ("metrics", &[]),
    ("telemetry", &[]),
];

/// The modules of this crate that `source` names by `crate::x` or by `crate::{x::.., y::..}`.
fn named(source: &str) -> BTreeSet<String> {
    let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `some_crate::` are not this crate's root by name.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, true);
        for (index, c) in group.char_indices() {
            if depth == 0 && start && (c.is_alphanumeric() || c == '_') {
                found.insert(word(&group[index..]));
                start = false;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ => {}
            }
        }
    }
    found
}

fn sources(path: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let inner = file.strip_prefix(&root).unwrap();
        let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        if ["app", "cli", "main", "lib"].contains(&module) {
            continue;
        }
        seen.insert(module.to_owned());
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{module} has no place among the layers"));
            continue;
        };
        let leaf = LEAVES.contains(&module);
        for other in named(&fs::read_to_string(&file).unwrap()) {
            let fine =
                other == module || allowed.contains(&other.as_str()) || (LEAVES.contains(&other.as_str()) && (!leaf || other == "mac"));
            if !fine {
                broken.push(format!("{}: {module} may not import {other}", inner.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(seen.contains("libnetwork") && seen.contains("core"), "looked into the wrong folder: {seen:?}");
}

#[test]
fn finds_what_a_source_names() {
    let source = "use crate::{core::{Core, request::X}, mac::MacAddr};\n// crate::nft\nfn f() { crate::http::listen(); other_crate::foo(); }\nuse crate::metrics;";
    assert_eq!(named(source), ["core", "http", "mac", "metrics"].map(str::to_owned).into());
}
