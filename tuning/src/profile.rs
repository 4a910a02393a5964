//! What is wanted of a host depends on what it is and on what counts.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::facts::Place;

/// What is wanted of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A machine of your own, tuned for the shortest delay.
    Latency,
    /// A machine of your own, tuned for the most packets per core.
    Throughput,
    /// A virtual machine: the host's power and interrupts are not ours to set.
    Vm,
    /// A container: nothing of the host is ours; what should be set there is told.
    Container,
}

/// What a profile wants, where profiles differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Whether sysctls and network cards are ours to set.
    pub owns_host: bool,
    /// Whether clock speed, sleep and interrupts' timing are: below a hypervisor they are not.
    pub owns_hardware: bool,
    /// How long a network card may hold a packet back, in microseconds: at least and at most.
    pub rx_usecs: (u32, u32),
    /// The longest that a worker's core may take to wake up, in microseconds.
    pub wake_up_us_max: Option<u32>,
}

impl Profile {
    /// The profile for what a host is.
    #[must_use]
    pub fn of(place: &Place) -> Self {
        match place {
            Place { container: Some(_), .. } => Self::Container,
            Place { virtual_machine: true, .. } => Self::Vm,
            Place { .. } => Self::Latency,
        }
    }

    /// What it wants.
    #[must_use]
    pub fn wishes(self) -> Wishes {
        let metal = Wishes {
            owns_host: true,
            owns_hardware: true,
            rx_usecs: (0, 8),
            // C1 everywhere; C6 takes 40 to 200.
            wake_up_us_max: Some(20),
        };
        match self {
            Self::Latency => metal,
            // Interrupts that bring several packets each; the worker coalesces as well.
            Self::Throughput => Wishes { rx_usecs: (16, 50), wake_up_us_max: None, ..metal },
            Self::Vm => Wishes { owns_hardware: false, wake_up_us_max: None, ..metal },
            Self::Container => {
                Wishes { owns_host: false, owns_hardware: false, wake_up_us_max: None, ..metal }
            }
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Vm => "vm",
            Self::Container => "container",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_follows_from_what_the_host_is() {
        let metal = Place { container: None, virtual_machine: false, product: None };
        let vm = Place { virtual_machine: true, ..metal.clone() };
        let container = Place { container: Some("docker".to_owned()), ..vm.clone() };
        assert_eq!(Profile::of(&metal), Profile::Latency);
        assert_eq!(Profile::of(&vm), Profile::Vm);
        assert_eq!(Profile::of(&container), Profile::Container);
    }
}
