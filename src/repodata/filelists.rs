//! One package's entry in filelists.xml.
