"Package metadata lives in settings.ini; this file only hands it to setuptools."
import shlex
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
lib = cfg['lib_path']
extras = {k.removeprefix('extras_'): shlex.split(v) for k, v in cfg.items() if k.startswith('extras_')}

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], keywords=cfg['keywords'],
    license='Apache-2.0', python_requires='>=' + cfg['min_python'],
    packages=find_packages(include=[lib, lib + '.*']), include_package_data=True, zip_safe=False,
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    install_requires=shlex.split(cfg['requirements']),
    extras_require=extras | {'dev': shlex.split(cfg['dev_requirements'])},
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': [f'{lib}={lib}._modidx:d']})
