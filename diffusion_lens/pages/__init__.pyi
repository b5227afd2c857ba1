from .app import create_app as create_app
from .diagnosis import diagnosis_page as diagnosis_page
from .diagnosis import summarize as summarize
from .report import write_report as write_report
from .run_index import RunIndex as RunIndex
from .serve import can_open_pages as can_open_pages
from .serve import listen as listen
