//! How many ports may be made ahead: `[port_pool]` for the host, `-o kuryr.pool.*` for one network.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::{Error, options::given, record::Network, request::DriverOptions};

const MIN: &str = "kuryr.pool.min";
const MAX: &str = "kuryr.pool.max";
const IDLE_TIME: &str = "kuryr.pool.idle_time";
/// The options of a network that are read here.
pub(in super::super) const POOL_OPTIONS: [&str; 3] = [MIN, MAX, IDLE_TIME];

/// `[port_pool]`: ports made ahead of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Whether any are made on networks whose options do not say how many.
    pub enabled: bool,
    /// Ports that a network always has ahead.
    pub min: usize,
    /// … and the most that it has.
    pub max: usize,
    /// Ports being made at once.
    pub batch: usize,
    /// How long a start counts.
    pub idle_time: Duration,
    /// The most of a subnet's free addresses that is held ahead, in percent.
    pub share: usize,
    /// How long new ports may take until the next of them is ACTIVE. After that they are made anew one after the other, and no more until one is:
    /// an agent that was only busy, or comes back, still finds the others.
    pub patience: Duration,
    /// Whether ports are plugged into a switch of this host; of others nothing can be made ahead.
    pub plugged: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            min: 0,
            max: 16,
            batch: 3,
            idle_time: Duration::from_secs(300),
            share: 20,
            patience: Duration::from_secs(60),
            plugged: true,
        }
    }
}

impl PoolSettings {
    /// For a host that makes ports ahead only where a network's options say so.
    pub fn disabled() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// What counts for one network.
    pub(super) fn of(&self, network: &Network) -> Bounds {
        let said = &network.pool;
        let idle_time = said.idle_time.map_or(self.idle_time, Duration::from_secs);
        // Of an operator's subnet Neutron may choose auxiliary addresses too.
        let clean = network.subnets.iter().all(|subnet| subnet.owned || subnet.reserved.is_empty());
        // A network of one named port has no use for others.
        let named = network.ports.port.is_some();
        let wanted = self.enabled || said.min.is_some() || said.max.is_some();
        if !wanted || !self.plugged || !clean || named || network.subnets.is_empty() {
            return Bounds { min: 0, max: 0, idle_time };
        }
        let min = said.min.unwrap_or(self.min);
        let max = said.max.unwrap_or(self.max.max(min));
        Bounds { min: min.min(max), max, idle_time }
    }
}

/// The limits of one network's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub min: usize,
    pub max: usize,
    pub idle_time: Duration,
}

/// What `-o` says of the ports made ahead on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolLimits {
    /// `kuryr.pool.min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<usize>,
    /// `kuryr.pool.max`; 0 for none at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// `kuryr.pool.idle_time`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_time: Option<u64>,
}

impl PoolLimits {
    /// Reads the options of a network.
    pub(in super::super) fn read(options: &DriverOptions) -> Result<Self, Error> {
        let number = |key: &str| {
            let read = given(options, key).map(|text| {
                text.parse::<u32>()
                    .map_err(|_| Error::Invalid(format!("{key} is '{text}'; write a whole number, such as 4, or leave it out")))
            });
            read.transpose()
        };
        let ports = |key: &str| Ok::<_, Error>(number(key)?.and_then(|number| usize::try_from(number).ok()));
        let (min, max) = (ports(MIN)?, ports(MAX)?);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(Error::Invalid(format!("{MIN} is '{min}', which is more than {MAX}, '{max}'; leave one of them out")));
        }
        Ok(Self { min, max, idle_time: number(IDLE_TIME)?.map(u64::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_says_more_than_the_host() {
        let host = PoolSettings { min: 1, max: 3, ..PoolSettings::default() };
        let bounds = |min, max, idle_time| {
            let network = Network { pool: PoolLimits { min, max, idle_time }, ..Network::for_test('a') };
            let Bounds { min, max, idle_time } = host.of(&network);
            (min, max, idle_time.as_secs())
        };
        assert_eq!(bounds(None, None, None), (1, 3, 300));
        assert_eq!(bounds(Some(9), None, Some(60)), (9, 9, 60));
        assert_eq!(bounds(Some(9), Some(5), None), (5, 5, 300));
        assert_eq!(bounds(None, Some(0), None), (0, 0, 300));
        assert_eq!(PoolSettings::disabled().of(&Network::for_test('a')).max, 0);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let read = |key: &str, value: &str| PoolLimits::read(&DriverOptions::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(read(MIN, " 5 ").unwrap().min, Some(5));
        assert_eq!(read(MAX, "").unwrap(), PoolLimits::default());
        for (key, value) in [(MIN, "-1"), (MAX, "many"), (IDLE_TIME, "5m")] {
            let error = read(key, value).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value) && error.contains("whole number"), "{error}");
        }
        let both = |min: &str, max: &str| {
            PoolLimits::read(&DriverOptions::from([(MIN.to_owned(), min.to_owned()), (MAX.to_owned(), max.to_owned())]))
        };
        assert!(both("5", "5").is_ok());
        assert!(both("6", "5").unwrap_err().to_string().contains("kuryr.pool.min is '6'"));
    }
}
