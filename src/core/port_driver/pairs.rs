//! The address pairs of the machine's own port. Several kuryrs and others may change that list at once, so that every change names the revision
//! that it was made from (`If-Match`), and is made again from the next one when it came too late.
//!
//! What this host changes at the same moment goes into one request: changes gather while one is under way, and the next writes them all. None has
//! to wait for that, since the revision decides who was first. So one that has waited for longer than a Neutron takes that is well goes ahead.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    core::{Core, Error},
    mac::MacAddr,
    openstack::{self, Urgency, as_urgent},
};

/// How often a port that others change at the same moment is read again before the caller has to come again.
pub(super) const ATTEMPTS: usize = 20;
/// How long a change waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(1);
/// The list in Neutron, which the client leaves among a port's other fields.
const PAIRS: &str = "allowed_address_pairs";

/// An address and the MAC that it may be sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    /// The address.
    pub ip_address: IpAddr,
    /// The MAC.
    pub mac_address: MacAddr,
}

impl AddressPair {
    /// Whether an entry of Neutron's list says the same.
    fn is(&self, entry: &Value) -> bool {
        let parsed = |text: &str| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        let address = entry["ip_address"].as_str().and_then(parsed);
        let mac = serde_json::from_value::<MacAddr>(entry["mac_address"].clone()).ok();
        address == Some(self.ip_address.into()) && mac == Some(self.mac_address)
    }

    pub(super) fn is_among(&self, entries: &[Value]) -> bool {
        entries.iter().any(|entry| self.is(entry))
    }
}

/// What one endpoint wants of the list.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Allow(Vec<AddressPair>),
    Disallow(Vec<AddressPair>),
}

impl Change {
    fn pairs_among(&self, entries: &[Value]) -> Vec<AddressPair> {
        let (Self::Allow(pairs) | Self::Disallow(pairs)) = self;
        pairs.iter().filter(|pair| pair.is_among(entries)).copied().collect()
    }
}

/// Changes that wait for the next request.
#[derive(Debug, Default)]
pub(in super::super) struct PairChanges(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    machine: Uuid,
    change: Change,
    /// Told which of the pairs were there before; of a refusal only whoever is alone with it, and else nothing.
    done: oneshot::Sender<Result<Vec<AddressPair>, Option<Error>>>,
}

impl PairChanges {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, machine: Uuid) -> Vec<Waiting> {
        self.waiting().extract_if(.., |waiting| waiting.machine == machine).collect()
    }
}

impl Core {
    /// Changes the pairs of a machine's port, together with all that others want of it by then. Returns which of the change's pairs were there
    /// before. `read` is the port as the caller has just read it.
    pub(super) async fn change_pairs(
        &self,
        machine: Uuid,
        change: Change,
        read: Option<openstack::Port>,
    ) -> Result<Vec<AddressPair>, Error> {
        let (done, outcome) = oneshot::channel();
        self.pair_changes.waiting().push(Waiting { machine, change: change.clone(), done });
        let turn = tokio::time::timeout(PATIENCE, self.turns.take(format!("pairs of port {machine}"))).await;
        let group = self.pair_changes.take(machine);
        if !group.is_empty() {
            self.write_group(machine, group, read).await;
        }
        drop(turn);
        match outcome.await {
            Ok(Ok(before)) => Ok(before),
            Ok(Err(Some(refused))) => Err(refused),
            // The refusal may be about another's pairs, or whoever wrote them has broken off. What is there by now may be of that try.
            Ok(Err(None)) | Err(_) => {
                let before = self.write_pairs(machine, &[&change], None).await?;
                Ok(if matches!(change, Change::Allow(_)) { Vec::new() } else { change.pairs_among(&before) })
            }
        }
    }

    async fn write_group(&self, machine: Uuid, group: Vec<Waiting>, read: Option<openstack::Port>) {
        let changes: Vec<&Change> = group.iter().map(|waiting| &waiting.change).collect();
        let write = self.write_pairs(machine, &changes, read);
        // An engine may wait for it, whoever writes.
        let awaited = changes.iter().any(|change| matches!(change, Change::Allow(_)));
        let mut outcome = if awaited { as_urgent(Urgency::Start, write).await } else { write.await }.map_err(Some);
        let alone = group.len() == 1;
        for Waiting { change, done, .. } in group {
            let told = match &mut outcome {
                Ok(before) => Ok(change.pairs_among(before)),
                Err(refused) if alone => Err(refused.take()),
                Err(_) => Err(None),
            };
            // Whoever has gone away does not want to know.
            let _ = done.send(told);
        }
    }

    /// Writes changes into the list as it stands at that moment, and returns how it stood. From a port that is gone all is taken off.
    async fn write_pairs(&self, machine: Uuid, changes: &[&Change], mut read: Option<openstack::Port>) -> Result<Vec<Value>, Error> {
        let optional = changes.iter().all(|change| matches!(change, Change::Disallow(_)));
        let unless_gone = |error: openstack::Error| if optional && error.is_not_found() { Ok(Vec::new()) } else { Err(error.into()) };
        for _ in 0..ATTEMPTS {
            let found = match read.take() {
                Some(found) => found,
                None => match self.neutron.show(machine).await {
                    Ok(found) => found,
                    Err(error) => return unless_gone(error),
                },
            };
            let before = entries(&found);
            let after = changed(&before, changes);
            if after == before {
                return Ok(before);
            }
            match self.neutron.update_at::<openstack::Port>(machine, found.revision_number, &json!({ PAIRS: after })).await {
                Ok(_) => return Ok(before),
                Err(error) if is_overtaken(&error) => {}
                Err(error) => return unless_gone(error),
            }
        }
        Err(changed_by_others(machine))
    }
}

/// The pairs of a port.
pub(super) fn entries(machine: &openstack::Port) -> Vec<Value> {
    machine.extra.get(PAIRS).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The list after all changes. An address that one port leaves and another gets stays.
fn changed(before: &[Value], changes: &[&Change]) -> Vec<Value> {
    let mut after = before.to_vec();
    for change in changes {
        if let Change::Disallow(pairs) = change {
            after.retain(|entry| !pairs.iter().any(|pair| pair.is(entry)));
        }
    }
    for change in changes {
        if let Change::Allow(pairs) = change {
            let missing: Vec<Value> = pairs.iter().filter(|pair| !pair.is_among(&after)).map(|pair| json!(pair)).collect();
            after.extend(missing);
        }
    }
    after
}

/// Whether a change came too late for the revision that it was made from. Neutron also notices it by a pair that is there already.
fn is_overtaken(error: &openstack::Error) -> bool {
    error.is_outdated() || error.kind() == "DuplicateAddressPairInRequest"
}

pub(super) fn changed_by_others(machine: Uuid) -> Error {
    Error::Taken(format!("the machine's port {machine} is being changed by others again and again; try again when they are done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(ip: &str) -> AddressPair {
        AddressPair { ip_address: ip.parse().unwrap(), mac_address: MacAddr([0xfa, 0x16, 0x3e, 0, 0, 1]) }
    }

    #[test]
    fn a_pair_is_the_same_in_any_of_neutrons_spellings() {
        for (ip, entry, same) in [
            ("10.0.0.5", json!({"ip_address": "10.0.0.5", "mac_address": "fa:16:3e:00:00:01"}), true),
            ("10.0.0.5", json!({"ip_address": "10.0.0.5/32", "mac_address": "FA:16:3E:00:00:01"}), true),
            ("fd00::5", json!({"ip_address": "fd00:0::5", "mac_address": "fa:16:3e:00:00:01"}), true),
            ("10.0.0.5", json!({"ip_address": "10.0.0.0/24", "mac_address": "fa:16:3e:00:00:01"}), false),
            ("10.0.0.5", json!({"ip_address": "10.0.0.5", "mac_address": "fa:16:3e:00:00:02"}), false),
            ("10.0.0.5", json!({"ip_address": "10.0.0.5"}), false),
        ] {
            assert_eq!(pair(ip).is(&entry), same, "{entry}");
        }
    }

    #[test]
    fn changes_of_several_endpoints_make_one_list_and_leave_what_others_put_there() {
        let theirs = json!({"ip_address": "192.0.2.0/24", "mac_address": "fa:16:3e:00:00:01"});
        let before = [theirs.clone(), json!(pair("10.0.0.5")), json!(pair("10.0.0.6"))];
        let (leaves, comes) =
            (Change::Disallow(vec![pair("10.0.0.5"), pair("10.0.0.6")]), Change::Allow(vec![pair("10.0.0.6"), pair("10.0.0.7")]));
        assert_eq!(changed(&before, &[&comes, &leaves]), [theirs, json!(pair("10.0.0.6")), json!(pair("10.0.0.7"))]);
        assert_eq!(changed(&before, &[&Change::Allow(vec![pair("10.0.0.5")]), &Change::Disallow(vec![pair("10.0.0.8")])]), before);
    }
}
