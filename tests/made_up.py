"""Tables of events made up after real datasets: their columns, values and counts."""

from itertools import count

import numpy as np
import pandas as pd

NA = "n/a"


def table(rows, columns):
    return pd.DataFrame(rows, columns=columns).astype(str)


def timed(rows, columns, step=4.0):
    """Give rows an onset each, and a duration."""
    front = [(index * step, step) for index in range(len(rows))]
    both = [(*times, *row) for times, row in zip(front, rows, strict=True)]
    return table(both, ["onset", "duration", *columns])


def kamitani(names, columns, codes, picture):
    """Runs of one-back tasks: rest, pictures, some of them shown again, rest."""
    rest, shown, again = codes
    for own in names:
        rows = [(rest, NA)]
        for position, name in enumerate(own):
            rows.append((shown, name))
            if position % 10 == 9:
                rows.append((again, name))
        rows.append((rest, NA))
        frame = timed(rows, columns)
        yield frame.assign(image_index=picture)


def chunks(names, size):
    return [names[start : start + size] for start in range(0, len(names), size)]


def generic_object_decoding():
    columns, codes = ["event_type", "stimulus_name"], ("rest", "stimulus", "stimulus")
    train = [f"n{i // 8:08d}_{i}" for i in range(1200)]
    test = [f"n9{i:07d}_{i}" for i in range(50)]
    for run, frame in enumerate(kamitani(chunks(train, 50), columns, codes, 1)):
        yield "perceptionTraining01", "perception", run, frame
    for run, frame in enumerate(kamitani([test] * 35, columns, codes, 1)):
        yield "perceptionTest01", "perception", run, frame
    kinds = ("cue", "imagery", "evaluation", "inter_rest")
    for run in range(20):
        rows = [("rest", NA, NA)]
        rows += [(kind, f"n9{i:07d}", "4.0") for i in range(25) for kind in kinds]
        rows.append(("rest", NA, NA))
        frame = timed(rows, ["event_type", "category_name", "evaluation"])
        yield "imageryTest01", "imagery", run, frame


def deep_reconstruction():
    columns, codes = ["event_type", "stimulus_name"], ("-1", "1", "2")
    sets = {
        "perceptionNaturalImageTraining01": [f"n1_{i}" for i in range(50)],
        "perceptionNaturalImageTest01": [f"n2_{i}" for i in range(50)],
        "perceptionArtificialImage01": [f"shape_{i}" for i in range(40)],
        "perceptionLetterImage01": [f"letter_{i}" for i in range(10)],
    }
    for session, names in sets.items():
        for run, frame in enumerate(kamitani([names, names], columns, codes, 1)):
            yield session, "perception", run, frame


def inter_individual():
    columns, codes = ["trial_type", "stimulus_name"], ("-1", "1", "2")
    natural = [f"n1_{i}" for i in range(50)]
    shapes = [f"expStim{i}_cyan_+" for i in range(40)]
    for run, frame in enumerate(kamitani([natural] * 24, columns, codes, 1.0)):
        yield "perceptionNaturalImageTest01", "perceptionNaturalImageTest", run, frame
    for run, frame in enumerate(kamitani([shapes] * 20, columns, codes, 1.0)):
        yield "perceptionArtificialImage01", "perceptionArtificialImage", run, frame


def attention():
    columns, codes = ["trial_type", "stimulus_name"], ("-1", "1", "2")
    names = chunks([f"n1_{i}" for i in range(1200)] * 5, 50)
    for run, frame in enumerate(kamitani(names, columns, codes, 1)):
        yield "perceptionNaturalImageTraining01", "GODTrain", run, frame
    for run in range(16):
        rows = [("-1", NA, NA)]
        for i in range(55):
            rows.append(("-3", NA, NA))
            rows.append((str(1 + i % 2), f"n1_{i % 10}", f"n1_{(i + 3) % 10}"))
        columns = ["trial_type", "attended_stimulus_name", "unattended_stimulus_name"]
        yield "attention01", "attentionNaturalTestImage", run, timed(rows, columns)


def bold5000():
    once = [(f"COCO_{i}.jpg", "coco") for i in range(4803)]
    often = [(f"rep_{i}.jpg", "imagenet") for i in range(113)]
    shown = once + often
    for repeat in range(3):
        last = 112 if repeat == 2 else 113
        shown += [(name, "rep_imagenet") for name, _ in often[:last]]
    # In this order, a repeated picture is in several runs.
    for run, rows in enumerate(chunks(shown, 37)):
        frame = timed(rows, ["ImgName", "ImgType"])
        session = f"{run // 10 + 1:02d}"
        yield session, "5000scenes", run, frame.assign(stim_file=frame["ImgName"])
    for run in range(8):
        kinds = ("Scrambled", "WkObject", "Scene", "fix")
        rows = [(kind, f"{kind}_{i}.jpg", "1") for kind in kinds for i in range(3)]
        yield "01", "localizer", run, timed(rows, ["cond", "image", "1back"])


def natural_objects():
    columns = ["trial_type", "response", "response_time", "stim_file"]
    names = [f"imagenet/n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(4000)]
    for run, own in enumerate(chunks(names, 100)):
        rows = [(f"{i % 1000}.0", "1.0", "1.5", name) for i, name in enumerate(own)]
        yield f"imagenet{run // 10 + 1:02d}", "imagenet", run, timed(rows, columns)
    for run in range(3):
        yield "imagenet05", "imagenet", run, timed([], columns)
    for run in range(10):
        rows = [(f"{i}.0", "0.0", "0.0", f"coco/{i:012d}.jpg") for i in range(120)]
        rows += [("1000.0", "0.0", "0.0", NA), ("2000.0", "1.0", "0.9", NA)] * 15
        yield "coco", "coco", run, timed(rows, [*columns[:3], "condition"])
    for run in range(8):
        rows = [(NA, NA, "prf/RETBARTR2.mat")] * 4
        columns = ["trial_type", "response_time", "condition"]
        yield "prf", "prf", run, timed(rows, columns)
    rows = [("adult", "face"), ("house", "place")] * 30
    for run in range(4):
        yield "floc", "floc", run, timed(rows, ["trial_type", "domain"])


def things():
    new, test = count(), [f"apple/apple_{i:02d}t.jpg" for i in range(100)]
    for run in range(120):
        rows = [("exp", f"dog/dog_{next(new):05d}s.jpg") for _ in range(72)]
        rows += [("test", test[(10 * run + i) % 100]) for i in range(10)]
        rows += [("catch", f"catch{i:03d}.jpg") for i in range(10)]
        session = f"things{run // 10 + 1:02d}"
        yield session, "things", run, timed(rows, ["trial_type", "file_path"])
    rows = [("bodyparts",), ("faces",), ("scenes",)] * 4
    for run in range(8):
        yield "localizer1", "6cat", run, timed(rows, ["trial_type"])
    rows = [(f"LR_pos-{i}",) for i in range(144)]
    for run in range(6):
        yield "localizer1", "pRF", run, timed(rows, ["trial_type"])


def faces():
    """Counts of each kind over 107 runs, as even as they come."""
    columns = ["trial_type", "stim_file", "oneback"]
    fixation = "placeholders/fixation.png"
    kinds = {
        ("train_face", "0"): 8606,
        ("train_face", "1"): 758,
        ("test_face", "0"): 810,
        ("test_face", "1"): 98,
        ("Fix", "0"): 3265,
        ("Img", "0"): 55,
    }
    number = count()
    for run in range(107):
        rows = []
        for (kind, back), total in kinds.items():
            for _ in range((run + 1) * total // 107 - run * total // 107):
                shown = f"sub01/run{run:02d}/F{next(number):05d}.jpg"
                if back == "1":
                    shown = rows[-1][1]
                rows.append((kind, fixation if kind in ("Fix", "Img") else shown, back))
        yield f"{run // 14 + 1:02d}", "faces", run, timed(rows, columns)
    for run in range(10):
        rows = [("fix   ",), ("face  ",), ("object",)] * 2
        yield "01", "loc", run, timed(rows, ["trial_type"])


def miyawaki2008():
    columns = ["trial_type", "stimulus_pattern"]
    random = np.random.default_rng(0)

    def pattern():
        return "".join(map(str, random.integers(0, 2, 144)))

    for run in range(20):
        rows = [("rest", "null")]
        for _ in range(22):
            rows += [("stimulus_random", pattern()), ("rest", "null")]
        yield "01", "viewRandom", run, timed(rows, columns)
    figures = [pattern() for _ in range(20)]
    kinds = ["shape", "alphabet", "alphabet_thin", "alphabet_long"]
    for run in range(12):
        own = [
            (f"stimulus_{kinds[run % 4]}", figures[(10 * run + i) % 20])
            for i in range(10)
        ]
        rows = [("rest", "null")]
        for row in own:
            rows += [row, ("rest", "null")]
        yield "02", "viewFigure", run, timed(rows, columns)


def famous_faces():
    kinds = {"Ini": 432, "Imm": 216, "Del": 190}
    rows = []
    for first, total in kinds.items():
        for i in range(total):
            group = "FUS"[i % 3]
            rows.append((f"{first}{group}F", f"func/{group.lower()}{i:03d}.bmp", "5"))
    for run, own in enumerate(chunks(rows, 94)):
        columns = ["trial_type", "stim_file", "trigger"]
        yield "mri", "facerecognition", run + 1, timed(own, columns)


def recognition():
    for run in range(6):
        rows = [
            (f"things/dog_{i}.jpg", ("unseen", "seen")[i % 2], 1 + i % 2)
            for i in range(60)
        ]
        columns = ["image_path", "condition", "repetition"]
        yield "02", "things", run, timed(rows, columns)
