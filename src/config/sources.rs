//! Where values come from: the command line, `OS_<GROUP>__<OPTION>` in the environment, configuration files, defaults; and which of them
//! wins.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    Error,
    options::{self, OPTIONS, Opt},
    oslo,
};

/// What to read. Nothing global is looked at, so that two configurations can live in one process.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The files named by `--config-file`, in order; empty: search for `kuryr.conf` and `kuryr-server.conf`.
    pub config_files: Vec<PathBuf>,
    /// The directories named by `--config-dir`, in order; empty: search for `kuryr.conf.d` and `kuryr-server.conf.d`.
    pub config_dirs: Vec<PathBuf>,
    /// The environment; `HOME` in it takes part in the search.
    pub environment: BTreeMap<String, String>,
    /// Options of `[DEFAULT]` that the command line sets.
    pub command_line: BTreeMap<&'static str, String>,
}

impl Sources {
    /// Sources with the paths of the command line and an environment such as [`std::env::vars`]; no option on the command line.
    pub fn new(config_files: Vec<PathBuf>, config_dirs: Vec<PathBuf>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { config_files, config_dirs, environment: environment.into_iter().collect(), command_line: BTreeMap::new() }
    }

    fn search(&self) -> Vec<PathBuf> {
        let home = self.environment.get("HOME").map(PathBuf::from);
        let homes = home.iter().flat_map(|h| [h.join(".kuryr"), h.clone()]);
        homes.chain([PathBuf::from("/etc/kuryr"), PathBuf::from("/etc")]).collect()
    }

    /// Every file to read, in order; a later one wins.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let first = |name: &str| self.search().into_iter().map(|d| d.join(name)).find(|p| p.exists());
        let mut files = if self.config_files.is_empty() {
            ["kuryr.conf", "kuryr-server.conf"].iter().filter_map(|n| first(n)).collect()
        } else {
            self.config_files.clone()
        };
        let dirs: Vec<PathBuf> = if self.config_dirs.is_empty() {
            ["kuryr.conf.d", "kuryr-server.conf.d"].iter().filter_map(|n| first(n)).collect()
        } else {
            self.config_dirs.clone()
        };
        for dir in dirs {
            let unreadable = |source| Error::Read { path: dir.clone(), source };
            let mut found = Vec::new();
            for entry in fs::read_dir(&dir).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if path.extension().is_some_and(|e| e == "conf") {
                    found.push(path);
                }
            }
            found.sort();
            files.append(&mut found);
        }
        Ok(files)
    }
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table of options.
    Default,
    /// The command line.
    CommandLine,
    /// This environment variable.
    Environment(String),
    /// This line of a file.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::CommandLine => f.write_str("the command line"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// A value in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The text after substitution; for a list the items are still joined by commas.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// (Section in its normal form, key) of one file to its last raw value and the line of it.
type Values = BTreeMap<(String, String), (String, usize)>;

/// Every assignment of the files that were read, with the environment, ready to be asked.
#[derive(Debug)]
pub struct Settings {
    files: Vec<(PathBuf, Values)>,
    environment: BTreeMap<String, String>,
    command_line: BTreeMap<&'static str, String>,
    /// What the operator should know but what does not stop the start.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read, or a line the grammar refuses.
    pub fn read(sources: &Sources) -> Result<Self, Error> {
        let mut settings = Self {
            files: Vec::new(),
            environment: sources.environment.clone(),
            command_line: sources.command_line.clone(),
            warnings: Vec::new(),
        };
        for path in sources.files()? {
            let text = fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
            settings.add(path, &text)?;
        }
        for opt in OPTIONS.iter().filter(|o| o.secret) {
            for (path, values) in &settings.files {
                let holds = std::iter::once(&opt.name).chain(opt.old_names).any(|n| values.keys().any(|(_, key)| key == n));
                if holds && open_to_others(path) {
                    let text = format!("{} holds a password and can be read by every user; run chmod o-rwx on it", path.display());
                    if !settings.warnings.contains(&text) {
                        settings.warnings.push(text);
                    }
                }
            }
        }
        Ok(settings)
    }

    fn add(&mut self, path: PathBuf, text: &str) -> Result<(), Error> {
        let lines = oslo::parse(text).map_err(|source| Error::Syntax { path: path.clone(), line: source.line, source })?;
        let mut values = BTreeMap::new();
        for line in lines {
            let group = oslo::normal_section(&line.section);
            if let Some(hint) = unknown(&group, &line.key) {
                self.warnings.push(format!(
                    "{}:{}: [{group}] {} is not an option of kuryr and is ignored{hint}",
                    path.display(),
                    line.line,
                    line.key
                ));
            }
            values.insert((group, line.key), (line.value, line.line));
        }
        self.files.push((path, values));
        Ok(())
    }

    /// The value of `opt` in effect, `None` when it is unset.
    ///
    /// # Errors
    /// A value that is not of the option's kind, or a `$name` that names nothing.
    pub fn get(&self, opt: &Opt) -> Result<Option<Setting>, Error> {
        self.get_in(opt.group, opt)
    }

    /// As [`Settings::get`], but read from another section, as `auth_section` wants it.
    ///
    /// # Errors
    /// As there.
    pub fn get_in(&self, group: &str, opt: &Opt) -> Result<Option<Setting>, Error> {
        let Some(setting) = self.text(group, opt, &RefCell::default())? else { return Ok(None) };
        if !opt.kind.accepts(&setting.text) {
            let value = if opt.secret { "****".to_owned() } else { setting.text };
            let (group, option) = (group.to_owned(), opt.name);
            return Err(Error::Value { origin: setting.origin, group, option, value, allowed: opt.kind.allowed() });
        }
        Ok(Some(setting))
    }

    fn text(&self, group: &str, opt: &Opt, above: &RefCell<BTreeSet<String>>) -> Result<Option<Setting>, Error> {
        let Some((raw, origin)) = self.raw(group, opt) else { return Ok(None) };
        let refuse = |name: &str, why| {
            let (group, option, name) = (group.to_owned(), opt.name, if opt.secret { "****" } else { name }.to_owned());
            Error::Reference { origin: origin.clone(), group, option, name, why }
        };
        let this = format!("{group}.{}", opt.name);
        if !above.borrow_mut().insert(this.clone()) {
            return Err(refuse(opt.name, "refers to itself"));
        }
        let text = oslo::substitute(&raw, &mut |name| {
            // As oslo.config: the own section first, then DEFAULT.
            let found = match name.split_once('.') {
                Some((group, name)) => options::find(group, name),
                None => options::find(group, name).or_else(|| options::find("DEFAULT", name)),
            };
            match found {
                Some(found) => Ok(self.text(found.group, found, above)?.map(|s| s.text).unwrap_or_default()),
                None => Err(refuse(name, "names no option; write $$ for a plain dollar sign")),
            }
        })?;
        above.borrow_mut().remove(&this);
        Ok(Some(Setting { text, origin }))
    }

    fn raw(&self, group: &str, opt: &Opt) -> Option<(String, Origin)> {
        // oslo.config's order: the command line, the environment, the files.
        if let Some(value) = self.command_line.get(opt.name).filter(|_| group == "DEFAULT") {
            return Some((value.clone(), Origin::CommandLine));
        }
        let variable = format!("OS_{}__{}", group.to_uppercase(), opt.name.to_uppercase());
        if let Some(value) = self.environment.get(&variable) {
            return Some((value.clone(), Origin::Environment(variable)));
        }
        let section = oslo::normal_section(group);
        for (path, values) in self.files.iter().rev() {
            for name in std::iter::once(&opt.name).chain(opt.old_names) {
                if let Some((value, line)) = values.get(&(section.clone(), (*name).to_owned())) {
                    return Some((value.clone(), Origin::File(path.clone(), *line)));
                }
            }
        }
        if let Some(value) = opt.default_env.and_then(|name| self.environment.get(name)) {
            // A plain variable is no configuration text: a dollar sign in it stands for itself.
            return Some((value.replace('$', "$$"), Origin::Environment(opt.default_env.unwrap_or_default().to_owned())));
        }
        opt.default.map(|value| (value.to_owned(), Origin::Default))
    }
}

fn open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

/// For a key that a known section does not have: the text that follows, with the nearest name if one is near.
fn unknown(group: &str, key: &str) -> Option<String> {
    if group == "default" {
        return Some("; did you mean [DEFAULT] in capitals?".to_owned());
    }
    let names: Vec<&str> =
        OPTIONS.iter().filter(|o| o.group == group).flat_map(|o| std::iter::once(o.name).chain(o.old_names.iter().copied())).collect();
    if names.is_empty() || names.contains(&key) {
        return None;
    }
    let nearest = names.iter().map(|n| (distance(n, key), n)).min();
    Some(nearest.filter(|(far, _)| *far <= 2).map(|(_, n)| format!("; did you mean {n}?")).unwrap_or_default())
}

/// The edit distance of two names.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
