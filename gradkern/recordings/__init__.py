"""Brain recordings: one subject's responses with their images, from files of every supported data set."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern._excluded import Excluded as Excluded
    from gradkern.recordings._describe import describe as describe
    from gradkern.recordings._maps.geometry import Geometry as Geometry
    from gradkern.recordings._maps.geometry import VolumeGrid as VolumeGrid
    from gradkern.recordings._maps.grayordinates import Grayordinates as Grayordinates
    from gradkern.recordings._maps.known import read_geometry as read_geometry
    from gradkern.recordings._maps.parcels import Parcels as Parcels
    from gradkern.recordings._maps.save import save_maps as save_maps
    from gradkern.recordings._maps.sensors import Sensors as Sensors
    from gradkern.recordings._maps.surfaces import SurfaceMesh as SurfaceMesh
    from gradkern.recordings._named_splits import assign_split as assign_split
    from gradkern.recordings._named_splits import named as named
    from gradkern.recordings._noise_ceiling import Ceiling as Ceiling
    from gradkern.recordings._noise_ceiling import estimate_ncsnr as estimate_ncsnr
    from gradkern.recordings._noise_ceiling import noise_ceiling as noise_ceiling
    from gradkern.recordings._noise_ceiling import split_half as split_half
    from gradkern.recordings._readers.algonauts2023 import load_algonauts2023 as load_algonauts2023
    from gradkern.recordings._readers.algonauts2025 import load_algonauts2025 as load_algonauts2025
    from gradkern.recordings._readers.bids import load_bids as load_bids
    from gradkern.recordings._readers.bids_eeg import load_bids_eeg as load_bids_eeg
    from gradkern.recordings._readers.bold5000 import load_bold5000 as load_bold5000
    from gradkern.recordings._readers.cneuromod_things import load_cneuromod_things as load_cneuromod_things
    from gradkern.recordings._readers.fmri import load_betas as load_betas
    from gradkern.recordings._readers.fmri import load_bold as load_bold
    from gradkern.recordings._readers.glmsingle import load_glmsingle as load_glmsingle
    from gradkern.recordings._readers.kay2017 import load_bootstraps as load_bootstraps
    from gradkern.recordings._readers.kay2017 import load_kay2017 as load_kay2017
    from gradkern.recordings._readers.laion_fmri import load_laion_fmri as load_laion_fmri
    from gradkern.recordings._readers.mne_epochs import from_epochs as from_epochs
    from gradkern.recordings._readers.mne_epochs import load_epochs as load_epochs
    from gradkern.recordings._readers.mne_raw import RAUGEL2025 as RAUGEL2025
    from gradkern.recordings._readers.mne_raw import Epoching as Epoching
    from gradkern.recordings._readers.mne_raw import epoch_raw as epoch_raw
    from gradkern.recordings._readers.mne_raw import save_epochs as save_epochs
    from gradkern.recordings._readers.nod import load_nod as load_nod
    from gradkern.recordings._readers.nsd import load_nsd as load_nsd
    from gradkern.recordings._readers.nsd_imagery import load_nsd_imagery as load_nsd_imagery
    from gradkern.recordings._readers.nsd_synthetic import load_nsd_synthetic as load_nsd_synthetic
    from gradkern.recordings._readers.nsd_timeseries import load_nsd_timeseries as load_nsd_timeseries
    from gradkern.recordings._readers.registry import Reader as Reader
    from gradkern.recordings._readers.registry import load as load
    from gradkern.recordings._readers.registry import readers as readers
    from gradkern.recordings._readers.things_eeg2 import load_things_eeg2 as load_things_eeg2
    from gradkern.recordings._readers.things_fmri import load_things_fmri as load_things_fmri
    from gradkern.recordings._readers.things_meg import load_things_meg as load_things_meg
    from gradkern.recordings._readers.things_meg_raw import epoch_things_meg as epoch_things_meg
    from gradkern.recordings._recording import Recording as Recording
    from gradkern.recordings._responses.lazy import Responses as Responses
    from gradkern.recordings._saved import load_recording as load_recording
    from gradkern.recordings._saved import save_recording as save_recording
    from gradkern.recordings._simulation.alternatives import ALTERNATIVES as ALTERNATIVES
    from gradkern.recordings._simulation.brain import ORGANISATIONS as ORGANISATIONS
    from gradkern.recordings._simulation.brain import Brain as Brain
    from gradkern.recordings._simulation.brain import simulate_brain as simulate_brain
    from gradkern.recordings._simulation.cortex import HCP_ORDER as HCP_ORDER
    from gradkern.recordings._simulation.cortex import load_cortex as load_cortex
    from gradkern.recordings._simulation.cortex import load_sphere as load_sphere
    from gradkern.recordings._simulation.meg_forward import forward_field as forward_field
    from gradkern.recordings._simulation.meg_forward import sensor_info as sensor_info
    from gradkern.recordings._simulation.meg_forward import sensor_names as sensor_names
    from gradkern.recordings._splits import FOLD_GROUPS as FOLD_GROUPS
    from gradkern.recordings._splits import Split as Split
    from gradkern.recordings._splits import folds as folds
    from gradkern.recordings._splits import published as published
    from gradkern.recordings._stimuli import FileImages as FileImages
    from gradkern.recordings._stimuli import HDF5Images as HDF5Images
    from gradkern.recordings._stimuli import folder_images as folder_images
    from gradkern.recordings._stimuli import merge_pictures as merge_pictures
    from gradkern.recordings._stimuli import same_pictures as same_pictures
    from gradkern.recordings._stimuli import things_images as things_images

__getattr__, __dir__, __all__ = lazy(__name__)
