//! `CUDA_VISIBLE_DEVICES`: which cards a process sees, and in which order.

use crate::Card;

/// The cards that are named, by ordinal or UUID, up to the first name that is nobody's. `None`: all.
pub(crate) fn those_of(machine: Vec<Card>, named: Option<&str>) -> Vec<Card> {
    let Some(named) = named else { return machine };
    let find = |name: &str| match name.parse::<usize>() {
        Ok(ordinal) => machine.get(ordinal).cloned(),
        Err(_) if name.len() < 5 => None,
        Err(_) => machine.iter().find(|card| uuid(card).starts_with(name)).cloned(),
    };
    named.split(',').map_while(|name| find(name.trim())).collect()
}

/// As `nvidia-smi -L` writes it.
fn uuid(card: &Card) -> String {
    let mut text = String::from(if card.whole.is_some() { "MIG" } else { "GPU" });
    for (place, byte) in card.uuid.iter().enumerate() {
        if matches!(place, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::machine;

    #[test]
    fn a_process_sees_what_is_named_until_a_name_is_nobodys() {
        let seen = |named: Option<&str>| {
            those_of(machine("l4,t4,h200mig").unwrap(), named).iter().map(|card| card.uuid[15]).collect::<Vec<_>>()
        };
        assert_eq!(seen(None), [0, 1, 2]);
        assert_eq!(seen(Some("")), []);
        assert_eq!(seen(Some("2,0")), [2, 0]);
        assert_eq!(seen(Some("1,7,0")), [1]);
        let named: Vec<String> = machine("l4,t4,h200mig").unwrap().iter().map(uuid).collect();
        assert!(named[2].starts_with("MIG-") && named[1].starts_with("GPU-"), "{named:?}");
        assert_eq!(seen(Some(&named[1])), [1]);
        assert_eq!(seen(Some(&format!("{},{}", named[2], named[0]))), [2, 0]);
    }
}
