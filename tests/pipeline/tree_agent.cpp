// What `mediafs tree-agent` is, without the rest of mediafs.
#include "pipeline/tree.h"

int main() {
  return mediafs::pipeline::run_tree_agent(3);
}
