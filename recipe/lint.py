"""Render the recipe as conda-forge would, for every platform: `pip install py-rattler-build`, `python recipe/lint.py`.

rattler-build's parser refuses unknown keys and malformed requirements. A build needs the packages of conda-forge.
"""

from pathlib import Path

from rattler_build import PlatformConfig, RenderConfig, Stage0Recipe, VariantConfig

PLATFORMS = ("linux-64", "linux-aarch64", "osx-arm64")
VARIANTS = """
python: ["3.11.* *_cpython", "3.12.* *_cpython", "3.13.* *_cp313"]
cxx_compiler: [gxx]
c_stdlib: [sysroot]
c_stdlib_version: ["2.28"]
"""


def main() -> None:
    recipe = Stage0Recipe.from_file(Path(__file__).with_name("recipe.yaml"))
    for platform in PLATFORMS:
        config = RenderConfig(platform=PlatformConfig(target_platform=platform))
        rendered = recipe.render(VariantConfig.from_yaml(VARIANTS), config)
        if len(rendered) != 3:
            raise SystemExit(f"{platform}: {len(rendered)} packages, expected one for each Python")
        for variant in rendered:
            print(platform, variant.recipe.package.name, variant.recipe.package.version, variant.variant["python"])


if __name__ == "__main__":
    main()
