//! A table as plain data. Two states of one can be compared, and what differs be loaded in one transaction: a ruleset of hundreds of ports
//! is not built anew because one of them changed.

use std::{collections::BTreeMap, fmt::Write as _};

/// A table: named sets, maps and chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    family: &'static str,
    name: &'static str,
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Chain>,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// `set` or `map`.
    keyword: &'static str,
    /// Its type and flags, as nft's grammar has them.
    declaration: String,
    /// Elements of an interval set depend on each other, so such a set is always filled anew.
    interval: bool,
    /// Key and, in a map, value.
    elements: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    /// `type … hook … priority …; policy …;` of a base chain; empty for one that is jumped to.
    hook: String,
    rules: Vec<String>,
}

impl Set {
    /// An empty set; `key` as in `type ifname . ether_addr`.
    pub fn of(key: &str) -> Self {
        Self { keyword: "set", declaration: format!("{key};"), interval: false, elements: BTreeMap::new() }
    }

    /// An empty set of intervals, such as prefixes.
    pub fn of_intervals(key: &str) -> Self {
        Self { interval: true, declaration: format!("{key}; flags interval;"), ..Self::of(key) }
    }

    /// An empty map from keys to verdicts.
    pub fn of_verdicts(key: &str) -> Self {
        Self { keyword: "map", declaration: format!("{key} : verdict;"), ..Self::of(key) }
    }

    /// Adds an element to a set.
    pub fn insert(&mut self, key: impl Into<String>) {
        self.elements.insert(key.into(), String::new());
    }

    /// Adds an element to a map; a key that is there keeps its value.
    pub fn map(&mut self, key: impl Into<String>, verdict: impl Into<String>) {
        self.elements.entry(key.into()).or_insert_with(|| verdict.into());
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    fn same_kind(&self, other: &Self) -> bool {
        (self.keyword, &self.declaration) == (other.keyword, &other.declaration)
    }
}

/// Elements as they stand between braces.
fn list<'e>(elements: impl Iterator<Item = (&'e String, &'e String)>) -> String {
    let texts: Vec<String> = elements.map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key} : {value}") }).collect();
    texts.join(", ")
}

impl Table {
    /// An empty table.
    pub fn new(family: &'static str, name: &'static str) -> Self {
        Self { family, name, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// Puts a set or map into the table.
    pub fn set(&mut self, name: impl Into<String>, set: Set) {
        self.sets.insert(name.into(), set);
    }

    /// Puts a chain into the table that others jump to.
    pub fn chain(&mut self, name: impl Into<String>, rules: Vec<String>) {
        self.chains.insert(name.into(), Chain { hook: String::new(), rules });
    }

    /// Puts a base chain into the table; its policy is to accept. `kind` is `filter` or `nat`.
    pub fn base_chain(&mut self, name: &str, kind: &str, hook: &str, priority: i32, rules: Vec<String>) {
        let hook = format!("type {kind} hook {hook} priority {priority}; policy accept;");
        self.chains.insert(name.to_owned(), Chain { hook, rules });
    }

    /// The text that puts this table in the place of whatever has its name.
    pub fn whole(&self) -> String {
        let at = self.at();
        // Added first, because deleting a missing table is an error and nft 1.0.6 has no `destroy`.
        format!("add table {at}\ndelete table {at}\n{}", self.block(self.sets.iter(), self.chains.iter()))
    }

    /// The text that makes this table of `old`, empty when they are equal; none when only [`Self::whole`] can.
    pub fn since(&self, old: &Self) -> Option<String> {
        let at = self.at();
        let (mut first, mut last) = (String::new(), String::new());
        let mut chains = Vec::new();
        for (name, chain) in &self.chains {
            match old.chains.get(name) {
                Some(was) if was == chain => continue,
                Some(was) if was.hook != chain.hook => return None,
                Some(_) => drop(writeln!(first, "flush chain {at} {name}")),
                None => {}
            }
            chains.push((name, chain));
        }
        let mut sets = Vec::new();
        for (name, set) in &self.sets {
            let Some(was) = old.sets.get(name) else {
                sets.push((name, set));
                continue;
            };
            if !set.same_kind(was) {
                return None;
            }
            difference(&at, name, was, set, &mut first, &mut last);
        }
        let gone_chains: Vec<&String> = old.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        // Emptied first: one may jump to another.
        for name in &gone_chains {
            let _ = writeln!(last, "flush chain {at} {name}");
        }
        for name in &gone_chains {
            let _ = writeln!(last, "delete chain {at} {name}");
        }
        for (name, set) in old.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name)) {
            let _ = writeln!(last, "delete {} {at} {name}", set.keyword);
        }
        let block = if sets.is_empty() && chains.is_empty() { String::new() } else { self.block(sets.into_iter(), chains.into_iter()) };
        Some(first + &block + &last)
    }

    fn at(&self) -> String {
        format!("{} {}", self.family, self.name)
    }

    fn block<'t>(
        &self,
        sets: impl Iterator<Item = (&'t String, &'t Set)>,
        chains: impl Iterator<Item = (&'t String, &'t Chain)>,
    ) -> String {
        let mut text = format!("table {} {{\n", self.at());
        for (name, set) in sets {
            let _ = writeln!(text, "  {} {name} {{\n    {}", set.keyword, set.declaration);
            if !set.is_empty() {
                let _ = writeln!(text, "    elements = {{ {} }}", list(set.elements.iter()));
            }
            text.push_str("  }\n");
        }
        for (name, chain) in chains {
            let _ = writeln!(text, "  chain {name} {{");
            for line in std::iter::once(&chain.hook).filter(|hook| !hook.is_empty()).chain(&chain.rules) {
                let _ = writeln!(text, "    {line}");
            }
            text.push_str("  }\n");
        }
        text + "}\n"
    }
}

/// Writes what makes the elements of `set` of those of `was`: removals to `first`, additions to `last`.
fn difference(at: &str, name: &str, was: &Set, set: &Set, first: &mut String, last: &mut String) {
    if set.interval && was.elements != set.elements {
        let _ = writeln!(first, "flush set {at} {name}");
        if !set.is_empty() {
            let _ = writeln!(last, "add element {at} {name} {{ {} }}", list(set.elements.iter()));
        }
        return;
    }
    let gone: Vec<&str> = was.elements.iter().filter(|(key, value)| set.elements.get(*key) != Some(value)).map(|(key, _)| &**key).collect();
    if !gone.is_empty() {
        let _ = writeln!(first, "delete element {at} {name} {{ {} }}", gone.join(", "));
    }
    let mut fresh = set.elements.iter().filter(|(key, value)| was.elements.get(*key) != Some(value)).peekable();
    if fresh.peek().is_some() {
        let _ = writeln!(last, "add element {at} {name} {{ {} }}", list(fresh));
    }
}

#[cfg(test)]
mod tests;
