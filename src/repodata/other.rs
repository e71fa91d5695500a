//! One package's entry in other.xml.
