"""Print the recorded results as Markdown: python -m benchmarks.table"""

import json

from benchmarks.conftest import RESULTS


def main() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        run = json.loads(path.read_text())
        print(f"\n`{path.name}`: {run['device']}, torch {run['torch']}, commit {run['commit']}\n")
        print("| case | threads | call | ms | beside | ms | ratio [quartiles] | taken by others |")
        print("|---|---|---|---|---|---|---|---|")
        for row in run["rows"]:
            ours, theirs = (f"{1000 * row[key][1]:,.2f}" for key in ("seconds", "rival_seconds"))
            low, ratio, high = (f"{value:.3g}" for value in row["ratio"])
            call = f"{row['impl']} | {ours} | {row['rival']} | {theirs}"
            noise = f"{row['others_share']:.0%}"
            print(f"| {row['case']} | {row['threads']} | {call} | {ratio} [{low}, {high}] | {noise} |")


if __name__ == "__main__":
    main()
