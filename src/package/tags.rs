//! Which type rpm expects of which tag, and what belongs into which header.
//!
//! rpm 4.18's rules, found by giving it every tag with every type.

/// The kinds of data rpm tells apart when it checks a tag's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Char,
    Int8,
    Int16,
    Int32,
    Int64,
    /// A string, an array of strings or translated strings: one may stand for another.
    Text,
    Bin,
}

/// What a tag of the main header must hold; `None` where rpm accepts anything.
pub fn class(tag: u32) -> Option<Class> {
    Some(match tag {
        100 | 266 | 269 | 273 => Class::Text,
        1000..=1002 | 1004 | 1005 | 1007 | 1010 | 1011 | 1014..=1016 | 1018..=1027 => Class::Text,
        1035 | 1036 | 1039 | 1040 | 1044 | 1047 | 1049 | 1050 | 1054 | 1055 => Class::Text,
        1059..=1062 | 1064..=1067 | 1079 | 1081 | 1082 | 1085..=1092 | 1094 | 1097..=1099 => Class::Text,
        1113 | 1115 | 1117 | 1118 | 1120..=1126 | 1132 | 1133 | 1135 | 1142 => Class::Text,
        1147..=1157 | 1159 | 1160 | 1196 => Class::Text,
        5000..=5002 | 5005..=5007 | 5010 | 5012..=5016 | 5030 | 5031 | 5034..=5036 => Class::Text,
        5040..=5044 | 5046 | 5047 | 5049 | 5050 | 5052 | 5053 | 5055 | 5056 | 5058..=5062 => Class::Text,
        5066 | 5067 | 5069 | 5071 | 5076 | 5077 | 5079 | 5081 | 5086..=5090 | 5092 | 5096..=5101 => {
            Class::Text
        }
        1003 | 1006 | 1008 | 1009 | 1028 | 1034 | 1037 | 1045 | 1046 | 1048 => Class::Int32,
        1051..=1053 | 1068 | 1069 | 1080 | 1095 | 1096 | 1106 | 1112 | 1114 | 1116 | 1119 => Class::Int32,
        1127..=1129 | 1134 | 1140 | 1141 | 1143..=1145 | 1158 | 1161 | 1195 => Class::Int32,
        5011 | 5017..=5027 | 5032 | 5033 | 5037 | 5045 | 5048 | 5051 | 5054 | 5057 => Class::Int32,
        5068 | 5070 | 5072 | 5078 | 5080 | 5082 | 5084 | 5085 | 5091 | 5093 => Class::Int32,
        1030 | 1033 => Class::Int16,
        5008 | 5009 => Class::Int64,
        1012 | 1013 | 1043 | 1146 => Class::Bin,
        1029 => Class::Char,
        _ => return None,
    })
}

/// Tags that make rpm refuse a main header.
pub const ONLY_IN_SIGNATURE: &[u32] = &[257, 259, 261, 262, 267, 268, 269, 270, 271, 273, 276, 277];

/// Tags of the signature header that rpm copies into the main header under another number, where
/// that number must be free.
pub const MERGED: &[(u32, u32)] = &[(1007, 1046), (274, 5090), (275, 5091)];

/// What a tag of the signature header must be.
#[derive(Debug, Clone, Copy)]
pub enum SignatureType {
    Is(Class),
    OneString,
    Strings,
}

/// What rpm insists on in the signature header: tag, type, count (0 for any).
pub const SIGNATURE_TYPES: &[(u32, SignatureType, u32)] = &[
    (267, SignatureType::Is(Class::Bin), 0),
    (268, SignatureType::Is(Class::Bin), 0),
    (269, SignatureType::OneString, 1),
    (270, SignatureType::Is(Class::Int64), 1),
    (271, SignatureType::Is(Class::Int64), 1),
    (273, SignatureType::OneString, 1),
    (274, SignatureType::Strings, 0),
    (275, SignatureType::Is(Class::Int32), 1),
    (276, SignatureType::Strings, 0),
    (277, SignatureType::Is(Class::Int32), 1),
    (1000, SignatureType::Is(Class::Int32), 1),
    (1002, SignatureType::Is(Class::Bin), 0),
    (1004, SignatureType::Is(Class::Bin), 16),
    (1005, SignatureType::Is(Class::Bin), 0),
    (1007, SignatureType::Is(Class::Int32), 1),
];
