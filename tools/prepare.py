"""Bring everything that is made from the notebooks up to date, check it, and test the notebooks that changed: `python
tools/prepare.py [--all] [--no_tests]`

Export, Colab badges, README, clean, ruff and forbidden words, order of imports, links; then the tests of notebooks that
differ from the last commit, or of all. Stops at the first step that fails."""
import argparse, os, shutil, subprocess, sys
from tree import notebooks, root

STEPS = [['nbdev_export'], ['tools/colab.py'], ['tools/make_readme.py'], ['nbdev_clean'],
         ['tools/check_safety.py', '--no_audit'], ['tools/check_imports.py'], ['tools/check_links.py']]

def changed():
    "Notebooks that git says are new or differ from the last commit"
    said = subprocess.run([shutil.which('git') or 'git', 'status', '--porcelain', '--untracked-files=all', '--', 'nbs'],
                          cwd=root, capture_output=True, text=True, check=True).stdout
    names = {line[3:].split(' -> ')[-1].strip('"') for line in said.splitlines() if not line.startswith(' D')}
    return [path for path in notebooks() if path.relative_to(root).as_posix() in names]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--all', action='store_true', help='test all notebooks')
    parser.add_argument('--no_tests', action='store_true', help='test none')
    args = parser.parse_args()
    chosen = [] if args.no_tests else notebooks() if args.all else changed()
    tests = [['nbdev_test', '--n_workers', '0', '--path', str(path.relative_to(root))] for path in chosen]
    environment = os.environ | dict(OMP_NUM_THREADS='1',
                                    PATH=f'{os.path.dirname(sys.executable)}{os.pathsep}{os.environ["PATH"]}')
    for step in STEPS + tests:
        print('>', *step, flush=True)
        if subprocess.run([sys.executable, *step] if step[0].endswith('.py') else step, cwd=root,
                          env=environment).returncode:
            sys.exit(f'failed: {" ".join(step)}')

if __name__ == '__main__': main()
