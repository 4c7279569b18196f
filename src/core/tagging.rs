//! Which objects of this Neutron take tags. Neutron learned it piece by piece: in Mitaka networks (`tag`), later subnets, subnet pools and ports as
//! well (`tag-ext`), today everything (`standard-attr-tag`). What takes no tags is told by names, as kuryr-libnetwork has them there: a network is
//! named by the whole Docker id, a port by the endpoint's.

use std::{collections::BTreeSet, sync::PoisonError};

use super::{Core, Error};
use crate::openstack::Extension;

/// What takes tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tagging {
    /// Networks.
    pub networks: bool,
    /// Subnets, subnet pools and ports.
    pub others: bool,
}

impl Tagging {
    fn of(extensions: &BTreeSet<String>) -> Self {
        let has = |alias| extensions.contains(alias);
        let all = has("standard-attr-tag");
        Self { networks: all || has("tag"), others: all || has("tag-ext") }
    }
}

impl Core {
    /// Asks Neutron once, and again after a call that failed: who takes silence for "no tags" writes names where the others look for tags.
    pub(super) async fn tagging(&self) -> Result<Tagging, Error> {
        let known = self.extensions.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Tagging::of);
        match known {
            Some(tagging) => Ok(tagging),
            None => Ok(Tagging::of(&self.ask_for_extensions().await?)),
        }
    }

    /// The aliases of the extensions that Neutron has by now.
    pub(super) async fn ask_for_extensions(&self) -> Result<BTreeSet<String>, Error> {
        let found = self.neutron.list::<Extension>(&[]).await?;
        let aliases: BTreeSet<String> = found.into_iter().map(|extension| extension.alias).collect();
        *self.extensions.lock().unwrap_or_else(PoisonError::into_inner) = Some(aliases.clone());
        Ok(aliases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_of_neutron_takes_tags_on_more() {
        for (aliases, networks, others) in [
            (&["router"][..], false, false),
            (&["tag"], true, false),
            (&["tag-ext"], false, true),
            (&["tag", "tag-ext"], true, true),
            (&["standard-attr-tag"], true, true),
        ] {
            let extensions = aliases.iter().map(ToString::to_string).collect();
            assert_eq!(Tagging::of(&extensions), Tagging { networks, others }, "{aliases:?}");
        }
    }
}
