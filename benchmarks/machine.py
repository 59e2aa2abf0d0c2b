"""What the other benchmarks say of the machine they ran on."""
import platform

def processor():
    "Name of the CPU"
    try: return next(line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()
