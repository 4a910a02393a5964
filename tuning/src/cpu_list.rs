//! Sets of cores as the kernel writes them: lists (`0-3,8`) and masks (`00000001,0000000f`).

use std::collections::BTreeSet;

/// Reads a list such as `0-3,8`. An empty text is the empty list.
#[must_use]
pub fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

/// Writes a list: runs as ranges.
#[must_use]
pub fn format_list(cpus: &[u16]) -> String {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &cpu in cpus.iter().collect::<BTreeSet<_>>() {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(cpu) => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let run = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

/// Reads a mask: groups of 32 bits in hexadecimal, the highest first.
#[must_use]
pub fn parse_mask(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for (group, digits) in text.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(digits.trim(), 16).ok()?;
        let first = u16::try_from(group.checked_mul(32)?).ok()?;
        for bit in (0..32u16).filter(|bit| bits >> bit & 1 == 1) {
            cpus.push(first.checked_add(bit)?);
        }
    }
    Some(cpus)
}

/// Writes a mask, without leading zeros.
#[must_use]
pub fn format_mask(cpus: &[u16]) -> String {
    let highest = cpus.iter().max().map_or(0, |cpu| cpu / 32);
    let group = |group: u16| {
        let here = cpus.iter().filter(|&&cpu| cpu / 32 == group);
        here.fold(0u32, |bits, cpu| bits | 1 << (cpu % 32))
    };
    let mut text = format!("{:x}", group(highest));
    for lower in (0..highest).rev() {
        text.push_str(&format!(",{:08x}", group(lower)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_and_masks_as_the_kernel_writes_them() {
        let table: [(&str, &str, &[u16]); 5] = [
            ("", "0", &[]),
            ("0", "1", &[0]),
            ("0-1", "3", &[0, 1]),
            ("0-3,8", "10f", &[0, 1, 2, 3, 8]),
            ("1,32-33", "3,00000002", &[1, 32, 33]),
        ];
        for (list, mask, cpus) in table {
            assert_eq!(parse_list(list).unwrap(), cpus);
            assert_eq!(format_list(cpus), list);
            assert_eq!(parse_mask(mask).unwrap(), cpus);
            assert_eq!(format_mask(cpus), mask);
        }
        assert_eq!(parse_mask("00000000,00000003").unwrap(), [0, 1]);
        for text in ["x", "1-", "-1", "3,x", "70000"] {
            assert_eq!(parse_list(text), None, "{text}");
        }
        for text in ["x", "", "1,,2", "123456789"] {
            assert_eq!(parse_mask(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(cpus in proptest::collection::btree_set(0u16..1024, 0..40)) {
            let cpus: Vec<u16> = cpus.into_iter().collect();
            prop_assert_eq!(&parse_list(&format_list(&cpus)).unwrap(), &cpus);
            prop_assert_eq!(&parse_mask(&format_mask(&cpus)).unwrap(), &cpus);
        }

        #[test]
        fn no_text_is_fatal(text in ".{0,40}") {
            let _ = (parse_list(&text), parse_mask(&text));
        }
    }
}
