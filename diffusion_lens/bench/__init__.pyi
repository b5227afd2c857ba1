from .approximation_error import PROMPTS as PROMPTS
from .approximation_error import measure_approximations as measure_approximations
from .architectures import build_architecture as build_architecture
from .lens import bench as bench
from .report import summarise as summarise
from .report import write_report as write_report
from .timing import Timing as Timing
from .tuning import find_optimizations as find_optimizations
