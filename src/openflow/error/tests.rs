//! The table of errors: there and back.

use super::*;

#[test]
fn every_error_can_be_told_in_every_version() {
    for &error in OfError::ALL {
        for version in Version::ALL {
            let minor = version as u8 - 1;
            let mut near = error;
            let mut steps = 0;
            while near.own_wire(minor).is_none() {
                near = near.nearest();
                steps += 1;
                assert!(steps < NEAREST_STEPS_MAX, "{error:?} in {version:?}");
            }
            assert_eq!(error.wire(version), near.wire(version));
        }
    }
}

#[test]
fn every_error_is_read_back_from_how_it_is_told_or_as_one_that_is_told_alike() {
    for &error in OfError::ALL {
        for version in Version::ALL {
            let wire = error.wire(version);
            let read = OfError::from_wire(wire, version).expect("it was told");
            assert_eq!(read.wire(version), wire);
            if version == Version::V15 && error.own_wire(5).is_some() {
                assert_eq!(read, error);
            }
        }
    }
}

#[test]
fn errors_are_told_as_open_vswitch_tells_them() {
    let standard = |error_type, code| ErrorWire::Standard { error_type, code };
    let told = |error: OfError| Version::ALL.map(|version| error.wire(version));
    assert_eq!(told(OfError::FlowModOverlap)[..2], [standard(3, 1), standard(5, 3)]);
    assert_eq!(told(OfError::BadMatchPrerequisite)[..3], [Nicira(1, 260), Nicira(1, 260), standard(4, 9)]);
    assert_eq!(told(OfError::BundleClosed)[3..], [Onf(2304, 0), standard(17, 4), standard(17, 4)]);
    assert_eq!(told(OfError::NiciraMustBeZero)[1..3], [Nicira(1, 515), Nicira(4, 0)]);
    assert_eq!(OfError::BadActionMeter.wire(Version::V13), standard(12, 3));
    assert_eq!(OfError::MeterModUnknown.type_and_code(), (12, 3));
}
