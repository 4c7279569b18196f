//! How a line of the log looks. Source: oslo.log, `logging_default_format_string` and `JSONFormatter`.

use std::fmt;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The line format of oslo.log, plain or JSON.
pub(super) struct OsloLine {
    pub pid: u32,
    pub json: bool,
}

impl<S, N> FormatEvent<S, N> for OsloLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = OffsetDateTime::now_utc();
        let (date, clock) = (now.date(), now.time());
        let seconds = format!("{date} {:02}:{:02}:{:02}", clock.hour(), clock.minute(), clock.second());
        let (level, target) = (level(event.metadata()), event.metadata().target());
        if self.json {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let mut object = json!({
                "asctime": format!("{seconds},{:03}", clock.millisecond()),
                "created": now.unix_timestamp_nanos() as f64 / 1e9,
                "levelname": level,
                "message": fields.message,
                "name": target,
                "process": self.pid,
            });
            if !fields.rest.is_empty() {
                object["extra"] = Value::Object(fields.rest);
            }
            return writeln!(writer, "{object}");
        }
        write!(writer, "{seconds}.{:03} {} {level} {target} [-] ", clock.millisecond(), self.pid)?;
        ctx.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Python's name of the level.
pub(super) fn level(meta: &Metadata<'_>) -> &'static str {
    match *meta.level() {
        Level::WARN => "WARNING",
        other => other.as_str(),
    }
}

/// An event's fields as JSON.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        self.rest.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.set(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.set(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        // Times in milliseconds come so; JSON has no larger whole numbers that all readers take.
        self.set(field, u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}
