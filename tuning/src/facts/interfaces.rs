//! Addresses of the host, and which interface has each.

use std::net::IpAddr;

use serde::Deserialize;

use crate::host::{Host, Missing};

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// As `ip -j addr` prints them.
#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Info>,
}

#[derive(Deserialize)]
struct Info {
    local: Option<IpAddr>,
}

pub(super) fn addresses(host: &Host) -> Result<Vec<Address>, Missing> {
    let text = host.ask(&["ip", "-j", "addr"])?;
    let interfaces: Vec<Interface> = serde_json::from_str(&text)
        .map_err(|error| Missing::Failed(format!("ip -j addr: {error}")))?;
    let addresses = interfaces.into_iter().flat_map(|Interface { ifname, addr_info }| {
        let address =
            move |info: Info| Some(Address { interface: ifname.clone(), address: info.local? });
        addr_info.into_iter().filter_map(address)
    });
    Ok(addresses.collect())
}
