#!/bin/bash
# bids-recon @{version}: a task for each of @{n} participants, then the group level.
#
#     bash FILE       submits all of it; given again, it goes on where it was
#     sbatch FILE     submits the tasks alone
#
# The largest participant: @{estimate}.
#SBATCH --job-name=bids-recon
#SBATCH --array=1-@{n}
#SBATCH --cpus-per-task=@{cpus}
#SBATCH --mem=@{memory}M
#SBATCH --time=@{hours}:00:00
#SBATCH --signal=B:TERM@60
@{gpu}
set -u

# In a container: program=(apptainer run --cleanenv -B ... bids-recon.sif)
program=(@{program})
dataset=@{dataset}
output=@{output}
options=(@{options})
labels=(@{labels})

# Where exit statuses and what tasks say are kept.
records=@{records}

cd -- @{here} || exit 66

submit() {
    if [ ! -f "$0" ]; then
        echo 'Save this script to a file first.' >&2
        exit 64
    fi
    mkdir -p -- "$records" || exit 73
    local said="--output=${records//%/%%}/%A_%a.txt" array group
    array=$(sbatch --parsable "$said" "$@" "$0") || exit
    array=${array%%;*}
    # Also after tasks that failed: its page names them. Task 0 is the group level.
    group=$(sbatch --parsable "$said" "$@" --array=0 --dependency="afterany:$array" \
        --cpus-per-task=2 --mem=4000M --time=1:00:00 @{no_gpu}"$0" "$array") || exit
    echo "Tasks: job $array; group level: job ${group%%;*}." \
        "Exit statuses: $records/$array.tsv"
}

# Runs a command that SLURM may end, and keeps its exit status in $status.
run() {
    "$@" &
    child=$!
    trap 'kill -TERM "$child" 2>/dev/null' TERM INT
    wait "$child"
    status=$?
    # A signal ends the waiting first, and then the command.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        status=$?
    done
}

row() {
    printf '%s\t%s\t%s\t%s\n' "$@"
}

participant() {
    local label=${labels[SLURM_ARRAY_TASK_ID - 1]}
    local folder=$records/${SLURM_ARRAY_JOB_ID:-tasks}
    mkdir -p -- "$folder" || exit 73
    rm -f -- "$folder/$label.tsv"
@{work}    run "${program[@]}" "$dataset" "$output" participant "${options[@]}" \
        --participant-label="$label"@{work_option}
    row "sub-$label" "$status" "$SECONDS" "$HOSTNAME" >"$folder/$label.tsv"
    exit "$status"
}

group() {
    local folder=$records/$1
    run "${program[@]}" "$dataset" "$output" group
    {
        row participant_id exit_status seconds host
        for label in "${labels[@]}"; do
            # A task that was killed left no row.
            cat -- "$folder/$label.tsv" 2>/dev/null || row "sub-$label" n/a n/a n/a
        done
        row group "$status" "$SECONDS" "$HOSTNAME"
    } >"$folder.tsv"
    exit "$status"
}

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    submit "$@"
elif [ "$SLURM_ARRAY_TASK_ID" -eq 0 ]; then
    group "${1:-tasks}"
else
    participant
fi
