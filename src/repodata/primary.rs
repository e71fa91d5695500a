//! One package's entry in primary.xml.
