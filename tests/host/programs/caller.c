/* A library that loads a plugin by a name that only its own RUNPATH ($ORIGIN) finds. */
#include <dlfcn.h>
#include <stdio.h>

int call(void) {
  void *plugin = dlopen("libplugin-of-caller.so", RTLD_NOW);
  if (!plugin) return printf("%s\n", dlerror()), -1;
  int (*version)(void) = (int (*)(void))dlsym(plugin, "version");
  int rc = version ? version() : -2;
  dlclose(plugin);
  return rc;
}
