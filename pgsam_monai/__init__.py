"""Text-guided SAM networks for medical images, and everything a MONAI bundle of this project names.

Nothing is imported here: name the module that holds what you need, for example
`pgsam_monai.networks.samed.SAMed`.
"""

__version__ = "0.1.0"
