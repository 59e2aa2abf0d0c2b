"""What the other benchmarks say of the machine they ran on."""
import platform, re

def processor():
    "Name of the CPU; on Linux with family and model, since one name may stand for several generations"
    try: lines = [line.split(':', 1) for line in open('/proc/cpuinfo').read().split('\n\n')[0].splitlines()]
    except OSError: return platform.processor() or platform.machine()
    found = {name.strip(): value.strip() for name, value in lines}
    name = found.get('model name') or platform.machine()
    return name + (f' (family {found["cpu family"]}, model {found["model"]})' if 'cpu family' in found else '')

def processor_folder():
    "The same as the name of a folder"
    return re.sub('[^a-z0-9]+', '-', processor().lower()).strip('-')
