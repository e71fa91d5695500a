"""What the parsers of dnf and zypper say of files: cases come in as `KIND LENGTH\n` and so many bytes, and for each a
line goes out: `+` for every parser that takes it, `-` for every one that does not, and the first reason.
"""
import ctypes, os, sys, tempfile, xml.parsers.expat as expat

xml2 = ctypes.CDLL('libxml2.so.2')
xml2.xmlReadMemory.restype = ctypes.c_void_p
xml2.xmlReadMemory.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
xml2.xmlFreeDoc.argtypes = [ctypes.c_void_p]
QUIET_AND_ALONE = 32 | 64 | 2048
scratch = tempfile.NamedTemporaryFile(dir='/dev/shm' if os.path.isdir('/dev/shm') else None)

def by_expat(text):
    try:
        expat.ParserCreate().Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        return str(error)

def by_libxml2(text):
    document = xml2.xmlReadMemory(text, len(text), b'case.xml', None, QUIET_AND_ALONE)
    if not document:
        return 'libxml2 refuses it'
    xml2.xmlFreeDoc(document)

def by_libmodulemd(text):
    with open(scratch.name, 'wb') as file:
        file.write(text)
    index = Modulemd.ModuleIndex.new()
    try:
        whole, failures = index.update_from_file(scratch.name, False)
    except Exception as error:
        return str(error)
    if not whole:
        return failures[0].get_gerror().message if failures else 'libmodulemd refuses it'
    try:
        index.dump_to_string()
    except Exception as error:
        # Nothing in it is no mistake.
        return None if 'contains no modules' in str(error) else 'dump: %s' % error

while header := sys.stdin.buffer.readline():
    kind, length = header.split()
    text = sys.stdin.buffer.read(int(length))
    if kind == b'modules':
        import gi
        gi.require_version('Modulemd', '2.0')
        from gi.repository import Modulemd
        reasons = [by_libmodulemd(text)]
    else:
        reasons = [by_expat(text), by_libxml2(text)]
    why = next((why for why in reasons if why), '').replace('\n', ' ')
    print(''.join('-' if why else '+' for why in reasons), why.encode('utf-8', 'replace').decode(), flush=True)
