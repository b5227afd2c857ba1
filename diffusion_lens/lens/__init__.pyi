from .doctor import examine as examine
from .grid import contact_sheet as contact_sheet
from .lens import DiffusionLens as DiffusionLens
from .provenance import where_drawn as where_drawn
from .result import Result as Result
from .settings import Settings as Settings
from .thumbnails import data_address as data_address
from .thumbnails import thumbnail as thumbnail
