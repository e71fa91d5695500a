//! The bytes of an RPM header, validated before anything is sized by them.
