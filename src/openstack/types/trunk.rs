//! Trunks (extension `trunk`).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Extra, Resource, or_default};

/// What a trunk carries beside its own port's traffic: that of another port, in tagged frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubPort {
    /// The port.
    pub port_id: Uuid,
    /// How its frames are told from others; `vlan` for IEEE 802.1Q.
    pub segmentation_type: String,
    /// By which number.
    pub segmentation_id: u32,
}

/// A port whose frames may be those of several networks.
#[derive(Debug, Clone, Deserialize)]
pub struct Trunk {
    /// Its id.
    pub id: Uuid,
    /// The port that the trunk is of.
    pub port_id: Uuid,
    /// What it carries.
    #[serde(default, deserialize_with = "or_default")]
    pub sub_ports: Vec<SubPort>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Trunk {
    const SINGULAR: &'static str = "trunk";
    const COLLECTION: &'static str = "trunks";
}
