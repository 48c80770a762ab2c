// Reads {"id", "path", "form"} lines and prints what each name says: to score the parser against a corpus.
#include <iostream>
#include <string>

#include "pipeline/naming/jsonl.h"

int main() {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    if (!line.empty()) std::cout << mediafs::naming::answer_line(line) << '\n';
  }
  return std::cout ? 0 : 1;
}
