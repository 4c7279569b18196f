//! Removes the links of ports in groups: the kernel makes one deletion wait about as long as fifty together.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, oneshot};
use uuid::Uuid;

use super::{Core, Error, endpoint::on_blocking_thread, record::Port};
use crate::binding::{self, Driver};

/// Ports whose links are to go, and the turn of whoever removes them.
#[derive(Debug, Default)]
pub(super) struct Unplug {
    waiting: Mutex<Vec<Waiting>>,
    turn: Turn<()>,
}

#[derive(Debug)]
struct Waiting {
    port: Uuid,
    /// Told true when the link is gone with the group.
    done: oneshot::Sender<bool>,
}

impl Unplug {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Removes the link of a port, together with those of all ports that come here while the group before is under way.
    ///
    /// It may come late, when the port has its next endpoint already: the links of both have one name, so they take turns, and the one of
    /// the next endpoint stays. Plugging it removes what is left of the one before.
    pub(super) async fn unplug(&self, port: &Port) -> Result<(), Error> {
        let _turn = self.link_turn(port.id).await;
        let holder = self.state().port(&port.id).and_then(|now| now.endpoint.clone());
        if holder.is_some() && holder != port.endpoint {
            return Ok(());
        }
        if port.driver == Driver::Veth && port.vif_type == "bridge" && self.unplug_in_group(port.id).await? {
            return Ok(());
        }
        let (vif, settings) = (port.vif(&self.settings.host), self.settings.binding.clone());
        on_blocking_thread("unplugging a port", move || binding::unbind(&vif, &settings)).await??;
        Ok(())
    }

    /// Plugging and unplugging one port never run at the same time.
    pub(super) async fn link_turn(&self, port: Uuid) -> OwnedMutexGuard<()> {
        self.turns.take(format!("link {port}")).await
    }

    /// False when the group could not be removed, so that each port has to find out by itself what stands in its way.
    async fn unplug_in_group(&self, port: Uuid) -> Result<bool, Error> {
        let (done, outcome) = oneshot::channel();
        self.unplug.waiting().push(Waiting { port, done });
        let turn = self.unplug.turn.lock().await;
        let group = std::mem::take(&mut *self.unplug.waiting());
        if !group.is_empty() {
            let ports: Vec<Uuid> = group.iter().map(|waiting| waiting.port).collect();
            let removed = on_blocking_thread("unplugging ports", move || binding::unbind_many(&ports)).await?;
            if let Err(error) = &removed {
                tracing::debug!(ports = group.len(), %error, "could not unplug a group of ports");
            }
            for waiting in group {
                // Whoever has gone away does not want to know.
                let _ = waiting.done.send(removed.is_ok());
            }
        }
        drop(turn);
        // A sender that is gone belongs to a group whose thread broke off.
        Ok(outcome.await.unwrap_or(false))
    }
}
