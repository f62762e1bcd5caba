//! Serials, lineages, machine ids, key hashes, and the hex they are written in.

use countersign_identity::{
    KeyHash, Lineage, LineageError, MachineId, MachineIdError, Serial, SerialError, hex, hex::HexError,
};
use proptest::prelude::*;

#[test]
fn a_random_serial_is_positive_and_fills_18_octets() {
    for (first, kept) in [(0x00, 0x01), (0x80, 0x01), (0x01, 0x01), (0x7f, 0x7f), (0xff, 0x7f), (0x91, 0x11)]
    {
        let mut octets = [0x22; 18];
        octets[0] = first;
        assert_eq!(Serial::from_random(octets).as_bytes()[0], kept);
    }
}

#[test]
fn a_serial_is_read_as_the_content_of_a_der_integer() {
    assert_eq!(Serial::from_be_bytes(&[0x00, 0x80]).unwrap().to_string(), "80");
    assert_eq!(Serial::from_be_bytes(&[1]).unwrap().to_string(), "01");
    assert_eq!(Serial::from_be_bytes(&[]), Err(SerialError::Empty));
    assert_eq!(Serial::from_be_bytes(&[0, 0]), Err(SerialError::Zero));
    assert_eq!(Serial::from_be_bytes(&[0x80]), Err(SerialError::Negative));
    assert_eq!(Serial::from_be_bytes(&[1; 19]), Err(SerialError::TooLong { found: 19 }));
    let mut high = [0xff; 19];
    high[0] = 0;
    assert_eq!(Serial::from_be_bytes(&high), Err(SerialError::TooLong { found: 19 }));
    assert_eq!(Serial::from_be_bytes(&[0; 40]), Err(SerialError::Zero));
}

#[test]
fn a_serial_is_read_as_openssl_prints_it() {
    let serial: Serial = "0AF3".parse().unwrap();
    assert_eq!(serial.to_string(), "0af3");
    assert_eq!("".parse::<Serial>(), Err(SerialError::Empty));
    assert_eq!("00".parse::<Serial>(), Err(SerialError::Zero));
    assert_eq!("abc".parse::<Serial>(), "0abc".parse(), "a number, as many print it");
    assert_eq!("-1".parse::<Serial>(), Err(HexError::Digit { at: 0 }.into()));
    assert_eq!("ff".repeat(18).parse::<Serial>(), Err(SerialError::TooLong { found: 19 }));
}

#[test]
fn serials_sort_as_numbers() {
    let serial = |text: &str| text.parse::<Serial>().unwrap();
    assert!(serial("ff") < serial("0100"));
}

#[test]
fn identifiers_have_one_spelling_only() {
    assert_eq!(
        Lineage::from_random([1; 16]).to_string().to_uppercase().parse::<Lineage>(),
        Err(LineageError::Prefix)
    );
    let shouting = format!("l-{}", "AB".repeat(16));
    assert_eq!(shouting.parse::<Lineage>(), Err(HexError::Digit { at: 0 }.into()));
    assert_eq!("m-ABABABABABABABAB".parse::<MachineId>(), Err(HexError::Digit { at: 0 }.into()));
    assert_eq!("m-ab".parse::<MachineId>(), Err(HexError::Length { found: 2, expected: 16 }.into()));
    assert_eq!("ababababababab00".parse::<MachineId>(), Err(MachineIdError::Prefix));
    assert_eq!("m-0123456789abcdex".parse::<MachineId>(), Err(HexError::Digit { at: 15 }.into()));
    assert!("AB".repeat(32).parse::<KeyHash>().is_err());
    assert!("ab".repeat(31).parse::<KeyHash>().is_err());
}

#[test]
fn errors_do_not_repeat_what_was_typed() {
    // Invariant 8: whoever pastes an invitation where an id belongs must not find it in a log.
    let secret = "csinv1_c2VjcmV0";
    assert!(!secret.parse::<MachineId>().unwrap_err().to_string().contains("c2Vj"));
    assert!(!secret.parse::<Serial>().unwrap_err().to_string().contains("c2Vj"));
    assert!(!format!("m-{secret}").parse::<MachineId>().unwrap_err().to_string().contains("c2Vj"));
}

#[test]
fn hex_is_written_in_lower_case_and_read_in_either() {
    assert_eq!(hex::encode(&[0x00, 0x9f, 0xff]), "009fff");
    assert_eq!(hex::decode("009FfF"), Ok(vec![0x00, 0x9f, 0xff]));
    assert_eq!(hex::decode("0g"), Err(HexError::Digit { at: 1 }));
    assert_eq!(hex::decode("é"), Err(HexError::Digit { at: 0 }));
}

proptest! {
    #[test]
    fn every_value_round_trips_through_its_text(long in any::<[u8; 18]>(), hash in any::<[u8; 32]>(), lineage in any::<[u8; 16]>(), machine in any::<[u8; 8]>()) {
        let serial = Serial::from_random(long);
        prop_assert_eq!(serial.to_string().parse(), Ok(serial));
        prop_assert_eq!(Serial::from_be_bytes(serial.as_bytes()), Ok(serial));
        prop_assert_eq!(serial.to_string().len(), 36);
        let hash = KeyHash::from_bytes(hash);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        let lineage = Lineage::from_random(lineage);
        prop_assert_eq!(lineage.to_string().parse(), Ok(lineage));
        let machine = MachineId::from_random(machine);
        prop_assert_eq!(machine.to_string().parse(), Ok(machine));
    }

    #[test]
    fn short_serials_round_trip(octets in prop::collection::vec(any::<u8>(), 0..24)) {
        if let Ok(serial) = Serial::from_be_bytes(&octets) {
            prop_assert_eq!(serial.to_string().parse(), Ok(serial));
            prop_assert!(serial.as_bytes()[0] < 0x80);
        }
    }

    #[test]
    fn hex_round_trips(octets in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(hex::decode(&hex::encode(&octets)), Ok(octets));
    }

    #[test]
    fn no_text_panics(text in any::<String>(), digits in "[lm]-[0-9a-fA-F]{0,40}") {
        for text in [text, digits] {
            let _ = (text.parse::<Serial>(), text.parse::<Lineage>(), text.parse::<MachineId>(), text.parse::<KeyHash>());
        }
    }
}
