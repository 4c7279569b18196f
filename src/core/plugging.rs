//! Waiting until Neutron has a plugged port working (`vif_plugging_is_fatal`).

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Core, Error};
use crate::openstack;

/// How soon Neutron is asked again whether a port is ACTIVE, and how far apart at the most.
const FIRST_POLL: Duration = Duration::from_millis(100);
const LAST_POLL: Duration = Duration::from_secs(2);

impl Core {
    /// Asks Neutron with growing distance until the port is ACTIVE, the last time when `vif_plugging_timeout` is over. An answer that
    /// fails is as good as none, unless the port is gone.
    pub(super) async fn await_active(&self, port: Uuid) -> Result<(), Error> {
        let not_yet = |status, seconds| Error::NotActive { port, seconds, status, host: self.settings.host.clone() };
        self.await_status(port, |status| status == "ACTIVE", not_yet).await
    }

    /// Waits until a port is no more ACTIVE for an interface that it had before: only then ACTIVE will mean the new one, with its groups.
    pub(super) async fn await_left(&self, port: Uuid) -> Result<(), Error> {
        let not_yet = |status, seconds| {
            Error::Taken(format!(
                "port {port} was {status} after {seconds} s, before the container had its interface; see that nothing else is plugged for it and \
                 that the Neutron agent of host {} is alive",
                self.settings.host
            ))
        };
        self.await_status(port, |status| status != "ACTIVE", not_yet).await
    }

    async fn await_status(&self, port: Uuid, is_good: impl Fn(&str) -> bool, refused: impl Fn(String, u64) -> Error) -> Result<(), Error> {
        let limit = self.settings.vif_plugging_timeout;
        let end = Instant::now() + limit;
        let mut pause = FIRST_POLL;
        loop {
            // Before the question, so that one is asked after the whole time.
            let left = end.saturating_duration_since(Instant::now());
            let not_yet = match self.neutron.show::<openstack::Port>(port).await {
                Ok(found) if is_good(&found.status) => return Ok(()),
                Ok(found) => refused(found.status, limit.as_secs()),
                Err(error) if error.is_not_found() => return Err(error.into()),
                Err(error) => error.into(),
            };
            if left.is_zero() {
                return Err(not_yet);
            }
            tracing::debug!(%port, "not yet: {not_yet}");
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LAST_POLL);
        }
    }
}
