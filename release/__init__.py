"""What is published beside the package: the files of plugins, registries and directories, the bundle, the icon."""
