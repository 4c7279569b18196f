//! `kuryr gc`: what belongs to nobody, as the daemon sees it.

use std::{
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use time::{OffsetDateTime, UtcDateTime, format_description::well_known::Rfc3339};

use super::config::Files;
use crate::{
    config::Config,
    core::{Finding, Round},
    http::client,
};

/// A round asks Neutron and removes what it found, and each of these calls may take as long as a call may.
const LIMIT: Duration = Duration::from_secs(300);

/// Arguments of `kuryr gc`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove nothing: list what would be removed, and what will be when its time comes
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// How to print the list
    #[arg(long, short = 'f', value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// An object with the lists `findings` and `troubles`; times are seconds of Unix time
    Json,
}

/// Asks the running daemon, which alone holds the journal.
#[allow(clippy::print_stdout, reason = "printing is what the command is for")]
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.files.sources())?;
    let socket = socket(&config.metrics_listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(ask(&socket, args.dry_run))?;
    let round: Round = serde_json::from_str(&text).with_context(|| format!("the answer of the daemon at {}", socket.display()))?;
    match args.format {
        Format::Table => print!("{}", table(&round.findings, OffsetDateTime::now_utc().unix_timestamp())),
        Format::Json => println!("{text}"),
    }
    ensure!(round.troubles.is_empty(), "not everything could be looked at or removed: {}", round.troubles.join("; "));
    Ok(())
}

/// Where the daemon answers root alone.
fn socket(listen: &[String]) -> anyhow::Result<PathBuf> {
    let path = listen.iter().find(|item| item.parse::<SocketAddr>().is_err());
    path.map(PathBuf::from).ok_or_else(|| {
        anyhow!("[kuryr] metrics_listen names no Unix socket, on which the daemon would be asked; add one, such as /run/kuryr/metrics.sock")
    })
}

async fn ask(socket: &Path, dry_run: bool) -> anyhow::Result<String> {
    let client = client::on_socket(socket, LIMIT)?;
    let request = if dry_run { client.get("http://kuryr/gc") } else { client.post("http://kuryr/gc") };
    let unanswered = || format!("no daemon answers at {}; start kuryr.service, which collects at its start too", socket.display());
    let answer = request.send().await.with_context(unanswered)?;
    let status = answer.status();
    let text = answer.text().await.with_context(unanswered)?;
    if !status.is_success() {
        bail!("the daemon at {} answered {status}: {}; it may be of another version", socket.display(), text.trim());
    }
    Ok(text)
}

fn table(findings: &[Finding], now: i64) -> String {
    if findings.is_empty() {
        return "Nothing belongs to nobody.\n".to_owned();
    }
    let head = ["KIND", "ID", "SINCE", "REMOVED", "WHY"].map(str::to_owned);
    let line = |finding: &Finding| {
        let removed = match finding.due - now {
            _ if finding.removed => "yes".to_owned(),
            left if left < 0 => "due".to_owned(),
            left => format!("in {} min", left / 60 + 1),
        };
        [finding.kind.to_string(), finding.id.clone(), time_of_day(finding.since), removed, finding.why.clone()]
    };
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(findings.iter().map(line)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
    let [kind, id, since, removed] = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for line in &lines {
        let [a, b, c, d, why] = line;
        // Into a string nothing fails.
        let _ = writeln!(text, "{a:kind$}  {b:id$}  {c:since$}  {d:removed$}  {why}");
    }
    text
}

fn time_of_day(seconds: i64) -> String {
    let time = UtcDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Kind;

    #[test]
    fn a_table_says_when_each_goes() {
        let finding = |kind, id: &str, since, removed| Finding { kind, id: id.into(), why: "so".into(), since, due: since + 600, removed };
        let findings = [
            finding(Kind::SwitchPort, "tap1", 1_000_000_000, true),
            finding(Kind::Pool, "a-longer-id", 1_000_000_000, false),
            finding(Kind::Port, "x", 1_000_000_500, false),
        ];
        assert_eq!(
            table(&findings, 1_000_000_601),
            "KIND         ID           SINCE                 REMOVED   WHY\n\
             switch_port  tap1         2001-09-09T01:46:40Z  yes       so\n\
             pool         a-longer-id  2001-09-09T01:46:40Z  due       so\n\
             port         x            2001-09-09T01:55:00Z  in 9 min  so\n"
        );
        assert_eq!(table(&[], 0), "Nothing belongs to nobody.\n");
    }

    #[test]
    fn only_a_unix_socket_is_asked() {
        assert_eq!(socket(&["127.0.0.1:9751".into(), "/run/x".into()]).unwrap(), Path::new("/run/x"));
        assert!(socket(&["127.0.0.1:9751".into()]).unwrap_err().to_string().contains("metrics_listen"));
    }
}
