//! The vocabulary. Small on purpose: what repeats in real metadata repeats here.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($word:literal)*) => {
        $(#[$doc])*
        pub const $name: &[&str] = &[$($word),*];
    };
}

words!(SYLLABLES: "al" "ar" "ba" "bel" "bir" "bo" "cal" "cer" "co" "da" "del" "di" "dor" "el" "en" "fa" "fi" "for" "ga" "ger"
    "gl" "gra" "ha" "hel" "ib" "in" "ja" "jo" "ka" "kel" "ki" "la" "len" "li" "lo" "ma" "mer" "mi" "mo" "na" "net" "no" "ob" "or"
    "pa" "per" "pi" "pol" "qui" "ra" "ren" "ri" "ro" "sa" "sel" "si" "so" "ta" "ter" "ti" "to" "tu" "ul" "un" "va" "ver" "vi" "wa"
    "wi" "xa" "xen" "ya" "za" "zel" "zo");
words!(TOPICS: "access" "admin" "agent" "archive" "audio" "auth" "backup" "base" "build" "cache" "certificate" "cluster" "codec"
    "color" "compiler" "config" "console" "container" "core" "crypto" "data" "database" "debug" "desktop" "device" "dictionary"
    "directory" "disk" "display" "document" "driver" "editor" "engine" "event" "file" "filter" "firmware" "font" "format" "graph"
    "graphics" "hardware" "help" "host" "image" "index" "input" "interface" "kernel" "key" "language" "layout" "library" "license"
    "list" "locale" "log" "loop" "mail" "manager" "map" "math" "media" "memory" "message" "mime" "mirror" "model" "module" "monitor"
    "network" "node" "object" "option" "package" "page" "parser" "path" "pattern" "performance" "pipe" "platform" "player" "plugin"
    "policy" "pool" "power" "printer" "process" "profile" "protocol" "proxy" "query" "queue" "radio" "record" "registry" "render"
    "report" "resource" "rule" "runtime" "sandbox" "schema" "screen" "script" "search" "security" "server" "service" "session"
    "shell" "signal" "socket" "sound" "source" "speech" "storage" "stream" "string" "style" "support" "system" "table" "task" "test"
    "text" "theme" "thread" "time" "token" "tool" "trace" "transport" "tree" "type" "unit" "update" "user" "utility" "value" "video"
    "view" "volume" "web" "widget" "window" "wizard" "worker" "writer" "zone");
words!(NOUNS: "access" "algorithms" "applications" "archives" "bindings" "commands" "components" "configuration" "connections"
    "containers" "controls" "databases" "devices" "documents" "drivers" "environment" "extensions" "features" "files" "formats"
    "framework" "functions" "graphics" "hardware" "header files" "images" "implementation" "information" "interfaces" "languages"
    "libraries" "lists" "machines" "management" "messages" "methods" "modules" "networks" "objects" "options" "packages" "parsers"
    "performance" "platforms" "plugins" "processes" "programs" "protocols" "resources" "scripts" "security" "servers" "services"
    "software" "standards" "streams" "structures" "support" "systems" "tables" "tasks" "tests" "tools" "users" "utilities" "windows");
words!(ADJECTIVES: "abstract" "additional" "advanced" "basic" "common" "complete" "complex" "cross-platform" "different" "dynamic"
    "efficient" "extensible" "fast" "flexible" "free" "full-featured" "generic" "graphical" "high-level" "independent" "interactive"
    "large" "lightweight" "low-level" "modern" "modular" "multiple" "native" "new" "object-oriented" "open source" "optional"
    "portable" "powerful" "reliable" "remote" "reusable" "secure" "shared" "simple" "small" "standard" "static" "various" "virtual");
words!(VERBS: "access" "analyze" "build" "collect" "compare" "configure" "connect" "control" "convert" "create" "debug" "define"
    "develop" "display" "edit" "encode" "execute" "extract" "generate" "handle" "implement" "inspect" "install" "load" "maintain"
    "manage" "manipulate" "monitor" "parse" "process" "provide" "query" "read" "render" "run" "search" "send" "store" "test" "use"
    "validate" "verify" "write");
words!(JOINS: "and" "for" "that can" "which are used to" "in order to" "with support for" "written in C for" "as well as" "on top of"
    "from" "with" "using" "of" "to" "based on" "for use with");
words!(FIRST: "Adam" "Alice" "Anna" "Bela" "Bruno" "Carla" "Chen" "Clara" "David" "Dora" "Elena" "Emil" "Eva" "Felix" "Gita" "Hana"
    "Hugo" "Ines" "Ivan" "Jana" "Jiro" "Karel" "Lena" "Luis" "Maria" "Milan" "Nora" "Olaf" "Petra" "Radek" "Rosa" "Samir" "Tomas"
    "Ursula" "Vera" "Wei" "Yuki" "Zoe");
words!(LAST: "Abel" "Bauer" "Brandt" "Costa" "Dvorak" "Eriksen" "Fischer" "Garcia" "Hansen" "Horak" "Ito" "Jansen" "Keller" "Kovacs"
    "Larsen" "Lopez" "Marek" "Moreau" "Novak" "Olsen" "Park" "Pereira" "Quist" "Rossi" "Sato" "Silva" "Tanaka" "Urban" "Varga" "Weber"
    "Xu" "Young" "Zeman");
words!(LANGUAGES: "af" "ar" "as" "ast" "be" "bg" "bn" "bn_IN" "ca" "cs" "cy" "da" "de" "de_CH" "el" "en_GB" "eo" "es" "et" "eu" "fa"
    "fi" "fr" "ga" "gl" "gu" "he" "hi" "hr" "hu" "ia" "id" "is" "it" "ja" "ka" "kk" "kn" "ko" "lt" "lv" "mk" "ml" "mr" "ms" "nb" "nl"
    "nn" "or" "pa" "pl" "pt" "pt_BR" "ro" "ru" "sk" "sl" "sq" "sr" "sr@latin" "sv" "ta" "te" "tg" "th" "tr" "uk" "ur" "vi" "zh_CN"
    "zh_TW");
words!(LICENSES: "MIT" "GPLv2+" "GPL+ or Artistic" "BSD" "LGPLv2+" "ASL 2.0" "GPL-3.0-or-later" "GPLv3+" "MPLv2.0" "GPLv2"
    "LGPL-2.1-or-later" "GPLv2+ and LGPLv2+" "LPPL" "Artistic 2.0" "Public Domain" "BSD-3-Clause" "Apache-2.0 OR MIT" "OFL" "zlib"
    "GPL-2.0-or-later AND LGPL-2.1-or-later AND BSD-3-Clause AND MIT" "(GPLv2 or LGPLv3+) and GPLv3+ and MIT"
    "MIT AND (Apache-2.0 OR MIT) AND (MIT OR Zlib) AND Unicode-DFS-2016 AND BSD-2-Clause AND ISC AND MPL-2.0");
words!(DOCUMENTS: "README" "README.md" "AUTHORS" "ChangeLog" "NEWS" "TODO" "THANKS" "CHANGES" "HACKING" "CONTRIBUTING.md" "FAQ"
    "CHANGELOG.md" "MAINTAINERS" "INSTALL");
words!(EXTENSIONS: "png" "svg" "xml" "conf" "json" "js" "css" "txt" "dat" "ui" "html" "sh" "qml" "lua" "pm" "inc");
words!(SYMBOLS: "alloc" "init" "register" "release" "get" "put" "set" "read" "write" "lock" "unlock" "find" "add" "del" "remove"
    "create" "destroy" "enable" "disable" "start" "stop" "map" "unmap" "attach" "detach" "open" "close" "poll" "wait" "wake" "notify");
